//! Wildcards in permissions, segment by segment.

/// Whether `name` fits `pattern`. Segments stand between colons; a segment that is `*` stands for any one that is not
/// empty, and inside a longer segment it is a letter like any other.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let mut names = name.split(':');
    let fits = pattern.split(':').all(|segment| {
        names
            .next()
            .is_some_and(|name| segment == name || (segment == "*" && !name.is_empty()))
    });
    fits && names.next().is_none()
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
