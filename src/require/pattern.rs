//! Wildcards in permissions, segment by segment.

/// Whether `name` fits `pattern`. Segments stand between colons; a segment that is `*` stands for any one that is not
/// empty, and inside a longer segment it is a letter like any other.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // One segment after the other, each up to and with its colon. Most names differ in their first letters.
    loop {
        if let [b'*', rest @ ..] = pattern
            && matches!(rest, [] | [b':', ..])
        {
            let end = name.iter().position(|byte| *byte == b':');
            let (segment, left) = name.split_at(end.unwrap_or(name.len()));
            if segment.is_empty() {
                return false;
            }
            (pattern, name) = (rest, left);
        }
        loop {
            match (pattern, name) {
                ([], []) => return true,
                ([own, rest @ ..], [other, left @ ..]) if own == other => {
                    (pattern, name) = (rest, left);
                    if *own == b':' {
                        break;
                    }
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_whole_segment() {
        for (pattern, name, expected) in [
            ("order:*", "order:read", true),
            ("order:*", "order:*", true),
            ("order:*", "order:", false),
            ("order:*", "order", false),
            ("order:*", "order:line:read", false),
            ("order:*", "orders:read", false),
            ("order:*", "Order:read", false),
            ("order:*:read", "order:line:read", true),
            ("order:*:read", "order:line:write", false),
            ("*", "read", true),
            ("*", "", false),
            ("*", "order:read", false),
            ("*:*", "order:read", true),
            ("ord*:read", "order:read", false),
            ("ord*:read", "ord*:read", true),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
