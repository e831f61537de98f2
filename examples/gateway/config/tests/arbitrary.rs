//! No input makes the reader panic.

use proptest::prelude::*;

use super::read;
use crate::config::load;

/// Lines of the sample, in any order and number, some of them truncated.
fn shuffled() -> impl Strategy<Value = String> {
    let lines: Vec<&str> = include_str!("../../gateway.toml").lines().collect();
    let line = (proptest::sample::select(lines), 0..200_usize);
    let line = line.prop_map(|(line, end)| line.chars().take(end).collect::<String>());
    proptest::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

fn variables() -> impl Strategy<Value = Vec<(String, String)>> {
    let step = proptest::sample::select(vec![
        "ROUTES", "ISSUERS", "0", "1", "PATH", "REQUIRE", "JWKS", "PLANS", "", "LISTEN",
    ]);
    let name = proptest::collection::vec(step, 0..5);
    let name = name.prop_map(|steps| format!("PORTCULLIS__{}", steps.join("__")));
    let value = prop_oneof![
        ".*",
        r"\[[0-9a-z\[\]{}=:, ]*",
        Just("{}".to_owned()),
        Just("[[]]".to_owned())
    ];
    proptest::collection::vec((name, value), 0..6)
}

proptest! {
    #[test]
    fn arbitrary_input_does_not_panic(text in prop_oneof![".*", shuffled()], variables in variables()) {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        if let Ok(configuration) = read(&text, &variables) {
            let _ = configuration.to_string();
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = super::Folder::new().with("gateway.toml", &bytes);
        let _ = load(&folder.0.join("gateway.toml"), []);
    }
}

#[test]
fn depth_has_a_limit() {
    for open in ["[", "{ a = "] {
        assert!(read(&format!("a = {}", open.repeat(100_000)), &[]).is_err());
        let nested = open.repeat(100_000);
        assert!(read("", &[("PORTCULLIS__ROUTES", &nested)]).is_err());
    }
}

#[test]
fn missing_or_binary_file_is_reported() {
    let folder = super::Folder::new().with("bytes.toml", b"a = 1\nb = \"\xff\"");
    let file = folder.0.join("bytes.toml");
    let invalid = load(&file, []).unwrap_err().to_string();
    assert_eq!(invalid, format!("{}:2: invalid UTF-8", file.display()));
    let file = folder.0.join("lost.toml");
    let invalid = load(&file, []).unwrap_err().to_string();
    let expected = "cannot read the file: No such file or directory (os error 2)";
    assert_eq!(invalid, format!("{}: {expected}", file.display()));
}
