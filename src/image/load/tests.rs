use super::*;

#[test]
fn no_member_leads_out() {
    for (path, expected) in [
        ("./a/b", Some("a/b")),
        ("a/../b", Some("b")),
        ("../b", None),
        ("/b", None),
    ] {
        let found = inner(Path::new(path)).ok();
        assert_eq!(found.as_deref(), expected.map(Path::new), "{path}");
    }
}

fn images() -> (Images, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let images = Images::open(folder.path(), 1 << 20).expect("a store");
    (images, folder)
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive
            .append_data(&mut header, path, *bytes)
            .expect("memory");
    }
    archive.into_inner().expect("memory")
}

#[test]
fn both_forms_name_the_same_image() {
    let (images, _folder) = images();
    let hex = |bytes: &[u8]| digest::of(bytes)[SHA256.len()..].to_owned();
    let manifest = format!(
        r#"{{"config":{{"digest":"{0}"}},"layers":[{{"digest":"{0}"}}]}}"#,
        digest::of(b"{}")
    );
    let index = format!(
        r#"{{"manifests":[{{"digest":"{}","annotations":{{"{REF_NAME}":"a:1"}}}},
            {{"digest":"{}","platform":{{"os":"unknown","architecture":"unknown"}}}}]}}"#,
        digest::of(manifest.as_bytes()),
        digest::of(b"x"),
    );
    let (blob, list) = (
        hex(b"{}"),
        format!("blobs/sha256/{}", hex(manifest.as_bytes())),
    );
    let blob = format!("blobs/sha256/{blob}");
    let old = format!(r#"[{{"Config":"{blob}","RepoTags":["a:1"],"Layers":["{blob}"]}}]"#);
    let forms = [
        archive(&[
            ("index.json", index.as_bytes()),
            (&list, manifest.as_bytes()),
        ]),
        archive(&[("manifest.json", old.as_bytes())]),
    ];
    for form in forms {
        let wanted = images.members(&*form).and_then(|members| members.wanted());
        let wanted = wanted.expect("an archive");
        assert_eq!(wanted.len(), 1);
        assert_eq!(wanted[0].config, Path::new(&blob));
        assert_eq!(wanted[0].layers, [Path::new(&blob)]);
        assert_eq!(wanted[0].names, ["a:1"]);
    }
    let left = fs::read_dir(images.work()).expect("a folder").count();
    assert_eq!(left, 0, "nothing is left of what was looked at");
}

#[test]
fn what_is_no_archive_of_images_is_told() {
    let (images, _folder) = images();
    let told = |bytes: &[u8]| {
        let members = images.members(bytes).and_then(|members| members.wanted());
        members.expect_err("no images").to_string()
    };
    assert!(told(b"no tar at all").starts_with("archive: "));
    assert!(told(&archive(&[("x", b"y")])).contains("neither manifest.json nor index.json"));
    let lost = br#"{"manifests":[{"digest":"sha256:x"}]}"#;
    assert!(told(&archive(&[("index.json", lost)])).contains("is no digest"));
    let wrong = format!(r#"{{"manifests":[{{"digest":"{}"}}]}}"#, digest::of(b"x"));
    let blob = format!("blobs/sha256/{}", &digest::of(b"x")[SHA256.len()..]);
    let told = told(&archive(&[("index.json", wrong.as_bytes()), (&blob, b"z")]));
    assert!(told.contains(&digest::of(b"z")), "{told}");
}
