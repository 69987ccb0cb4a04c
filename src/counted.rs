//! Counts in words.

/// `1 policy`, `2 policies`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let counts = [0, 1, 2].map(|count| counted(count, "policy", "policies"));
        assert_eq!(counts, ["0 policies", "1 policy", "2 policies"]);
    }
}
