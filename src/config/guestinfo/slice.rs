//! A slice of plain values: the last index under its own key, the values joined by `|` beside.

/// Between the values of a slice, and between the keys of a map.
pub(super) const JOINER: char = '|';

/// What an error says should have stood under a slice's own key.
pub(super) const EXPECTED_INDEX: &str = "the last index of a slice, its length less one";

/// Length of the slice whose own key holds `text`; `-1` is an empty one.
pub(super) fn length(text: &str) -> Option<usize> {
    if text == "-1" {
        return Some(0);
    }
    text.parse::<usize>().ok()?.checked_add(1)
}

/// The values, when there are as many pieces as `length` says.
///
/// # Errors
/// The number of pieces there are, when it is another.
pub(super) fn split(length: usize, joined: &str) -> Result<Vec<String>, usize> {
    let pieces = joined.split(JOINER).count();
    if length == 0 && joined.is_empty() {
        Ok(Vec::new())
    } else if pieces == length {
        Ok(joined.split(JOINER).map(str::to_owned).collect())
    } else {
        Err(pieces)
    }
}

/// The values as one text, borders lost where a value holds a `|`.
pub(super) fn join(values: &[String]) -> String {
    let mut joined = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            joined.push(JOINER);
        }
        joined.push_str(value);
    }
    joined
}

/// The values of a JSON array of strings that, joined, gives `joined`, and has `length` values.
pub(super) fn from_json(length: usize, joined: &str, json: &str) -> Option<Vec<String>> {
    let serde_json::Value::Array(elements) = serde_json::from_slice(json.as_bytes()).ok()? else {
        return None;
    };
    let values: Vec<String> = elements
        .into_iter()
        .map(|element| match element {
            serde_json::Value::String(value) => Some(value),
            _ => None,
        })
        .collect::<Option<_>>()?;
    (values.len() == length && join(&values) == joined).then_some(values)
}

/// The values as a JSON array.
pub(super) fn to_json(values: &[String]) -> String {
    serde_json::Value::from(values).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_has_to_be_what_the_index_says() {
        assert_eq!(split(3, "/bin/sh|-c|ls | wc -l"), Err(4));
        assert_eq!(split(2, "a"), Err(1));
        assert_eq!(split(1, ""), Ok(vec![String::new()]));
        assert_eq!(
            split(3, "a||"),
            Ok(vec!["a".into(), String::new(), String::new()])
        );
        assert_eq!(split(0, ""), Ok(vec![]));
        assert_eq!(split(0, "a"), Err(1));
    }

    #[test]
    fn an_index_is_a_number_or_minus_one() {
        assert_eq!(length("0"), Some(1));
        assert_eq!(length("-1"), Some(0));
        for text in [
            "",
            "-2",
            "one",
            "99999999999999999999",
            "18446744073709551615",
            " 1",
        ] {
            assert_eq!(length(text), None, "{text}");
        }
    }

    #[test]
    fn a_json_array_counts_only_where_it_agrees_with_the_joined_form() {
        let values = vec!["sh".to_owned(), "-c".to_owned(), "a | b \"\n".to_owned()];
        let (joined, json) = (join(&values), to_json(&values));
        assert_eq!(from_json(3, &joined, &json), Some(values));
        assert_eq!(from_json(3, "sh|-c|a | c", &json), None);
        assert_eq!(from_json(2, &joined, &json), None);
        assert_eq!(from_json(1, "1", "[1]"), None);
        assert_eq!(from_json(1, "a", "{"), None);
    }
}
