//! Guessing from the sequence itself: what followed the last time these tokens occurred (prompt
//! lookup, Saxena 2023). It costs nothing and is good at quoting: summaries, edits, answers from a
//! passage, code.

/// The longest ending that is looked for.
const LONGEST: usize = 4;
/// The shortest that is worth a guess.
const SHORTEST: usize = 2;
/// How far back an ending is looked for, so that long sequences do not slow the step down.
const WINDOW: usize = 8192;

/// At most `most` guesses for what follows `tokens`: what followed the latest earlier occurrence
/// of their longest ending that has one.
pub(crate) fn guess(tokens: &[u32], most: usize) -> &[u32] {
    let start = tokens.len().saturating_sub(WINDOW);
    let tokens = &tokens[start..];
    let Some((&last, before)) = tokens.split_last() else { return &[] };
    let mut best = (SHORTEST - 1, 0);
    // `end` is one past an occurrence of the last token.
    for end in (1..=before.len()).rev() {
        if before[end - 1] != last {
            continue;
        }
        let same = before[..end].iter().rev().zip(tokens.iter().rev()).take(LONGEST);
        let len = same.take_while(|(a, b)| a == b).count();
        if len > best.0 {
            best = (len, end);
            if len == LONGEST {
                break;
            }
        }
    }
    match best {
        (_, 0) => &[],
        (_, end) => &tokens[end..tokens.len().min(end + most)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, by trying every ending and every place.
    fn reference(tokens: &[u32], most: usize) -> &[u32] {
        for len in (SHORTEST..=LONGEST.min(tokens.len())).rev() {
            let ending = &tokens[tokens.len() - len..];
            let places = (0..tokens.len() - len).rev();
            if let Some(at) = places.into_iter().find(|&at| &tokens[at..at + len] == ending) {
                return &tokens[at + len..tokens.len().min(at + len + most)];
            }
        }
        &[]
    }

    proptest! {
        #[test]
        fn what_is_guessed_follows_the_longest_latest_occurrence(
            tokens in proptest::collection::vec(0u32..4, 0..40),
            most in 0usize..6,
        ) {
            prop_assert_eq!(guess(&tokens, most), reference(&tokens, most), "{:?}", tokens);
        }
    }

    #[test]
    fn nothing_is_guessed_from_nothing() {
        assert_eq!(guess(&[], 4), [0u32; 0]);
        assert_eq!(guess(&[1, 2, 3], 4), [0u32; 0]);
        assert_eq!(guess(&[5, 1, 9, 5], 4), [0u32; 0], "one token is no ending");
        assert_eq!(guess(&[5, 1, 9, 7, 5, 1], 9), [9, 7, 5, 1]);
    }
}
