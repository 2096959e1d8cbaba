//! Words as the programs that read them want them written.

/// A word as a POSIX shell reads it back.
pub fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Words as one line of a POSIX shell.
pub fn shell_line(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| shell(w)).collect();
    quoted.join(" ")
}

/// A word of a systemd command line: `%` and `$` doubled, the rest as in C.
pub(super) fn systemd(word: &str) -> String {
    let doubled = word.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+@%,$".contains(c);
    if !doubled.is_empty() && doubled.chars().all(plain) {
        return doubled;
    }
    let escaped = doubled.replace('\\', r"\\").replace('"', r#"\""#);
    format!("\"{escaped}\"")
}

/// A string of YAML, in double quotes, which JSON's are.
pub(super) fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A string of a Compose file, where `$` would begin a variable.
pub(super) fn compose(text: &str) -> String {
    yaml(&text.replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        let cases = [
            ("model.gguf", "model.gguf"),
            ("my model.gguf", "'my model.gguf'"),
            ("it's.gguf", r"'it'\''s.gguf'"),
            ("$(reboot)", "'$(reboot)'"),
            ("", "''"),
        ];
        for (word, want) in cases {
            assert_eq!(shell(word), want);
        }
    }

    #[test]
    fn words_survive_systemd_and_compose() {
        assert_eq!(systemd(r#"a "b" 5% $HOME\x"#), r#""a \"b\" 5%% $$HOME\\x""#);
        assert_eq!(systemd("/m/plain.gguf"), "/m/plain.gguf");
        assert_eq!(compose("${HOME} \"x\""), r#""$${HOME} \"x\"""#);
    }
}
