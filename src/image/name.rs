//! Names of images as people write them: `hello-world`, `busybox:1.36`, `localhost:5000/a/b@sha256:…`.

use oci_client::Reference;

/// What Docker Hub is called in a full name.
const HUB: &str = "docker.io";
/// Where Docker Hub keeps images without an owner.
const HUB_LIBRARY: &str = "library/";
/// The tag of a name without one.
const LATEST: &str = "latest";

/// A name that is no image's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format: {0:?}")]
pub struct NameError(String);

/// A full name: registry, repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Reference);

impl Name {
    /// From any form.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let reference: Reference = text.parse().map_err(|_| NameError(text.to_owned()))?;
        Ok(Self(reference))
    }

    /// From docker's two parameters: `fromImage` and `tag`, which may be a digest, or in `image` already.
    ///
    /// # Errors
    /// It is none.
    pub fn of(image: &str, tag: Option<&str>) -> Result<Self, NameError> {
        match tag {
            None => Self::parse(image),
            Some(tag) if tag.contains(':') => Self::parse(&format!("{image}@{tag}")),
            Some(tag) => Self::parse(&format!("{image}:{tag}")),
        }
    }

    /// What the registry is asked for.
    pub fn reference(&self) -> &Reference {
        &self.0
    }

    /// Tag, or digest.
    pub fn tag(&self) -> &str {
        self.0.digest().or(self.0.tag()).unwrap_or(LATEST)
    }

    /// It names one image for ever.
    pub fn is_digest(&self) -> bool {
        self.0.digest().is_some()
    }

    /// As docker shows it, without the tag: `busybox`, `owner/image`, `registry:5000/image`.
    pub fn familiar(&self) -> String {
        match self.0.registry() {
            HUB => {
                let repository = self.0.repository();
                let short = repository.strip_prefix(HUB_LIBRARY);
                short.unwrap_or(repository).to_owned()
            }
            registry => format!("{registry}/{}", self.0.repository()),
        }
    }

    /// With the registry and all, `docker.io/library/busybox:latest`.
    pub fn full(&self) -> String {
        self.0.whole()
    }

    /// The repository's path at its registry, `library/busybox`.
    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    /// [`Name::familiar`] with its tag: what an image is listed by.
    pub fn tagged(&self) -> String {
        let joint = if self.is_digest() { '@' } else { ':' };
        format!("{}{joint}{}", self.familiar(), self.tag())
    }

    /// The same repository's image of this digest.
    pub fn at(&self, digest: &str) -> String {
        format!("{}@{digest}", self.familiar())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_full_names_are_one() {
        let tagged = |text: &str| Name::parse(text).map(|name| name.tagged());
        for (text, full) in [
            ("hello-world", "hello-world:latest"),
            ("docker.io/library/hello-world", "hello-world:latest"),
            ("owner/image:1.2", "owner/image:1.2"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ] {
            assert_eq!(tagged(text).as_deref(), Ok(full), "{text}");
        }
        let name = Name::parse("hello-world").expect("a name");
        assert_eq!(name.full(), "docker.io/library/hello-world:latest");
        for bad in ["", "UPPER", "a b", "x:", ":tag"] {
            assert!(Name::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn docker_s_tag_may_be_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let name = Name::of("docker.io/library/busybox", Some(&digest)).expect("a name");
        assert_eq!(name.tagged(), format!("busybox@{digest}"));
        let name = Name::of("busybox", Some("1.36")).expect("a name");
        assert_eq!((name.familiar().as_str(), name.tag()), ("busybox", "1.36"));
    }
}
