//! JSON pointers (RFC 6901) of several fields as one tree, so that one pass over a document finds all.

use std::ops::Range;

use super::found::Found;

/// The part of a tree at one place of the document.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Members (or array indexes, as written) that someone asks for, with their nodes.
    pub children: Vec<(Box<str>, usize)>,
    /// Where the value at this very place goes, if it is asked for.
    pub slot: Option<usize>,
    /// Slots of this node and all below: they are contiguous.
    pub slots: Range<usize>,
}

/// All places that are asked for. Node 0 is the whole document.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Nodes.
    pub nodes: Vec<Node>,
    /// How many slots there are.
    pub slots: usize,
}

/// Slot of a text that is no pointer (neither empty nor starting with `/`): nothing is there.
pub(crate) const NOWHERE: usize = usize::MAX;

impl Tree {
    /// The tree of these pointers, and the slot of each. Equal pointers share one.
    pub fn of<'a>(pointers: impl IntoIterator<Item = &'a str>) -> (Tree, Vec<usize>) {
        let mut tree = Tree {
            nodes: vec![Node::default()],
            slots: 0,
        };
        let ends: Vec<Option<usize>> = pointers
            .into_iter()
            .map(|pointer| tree.insert(pointer))
            .collect();
        for end in ends.iter().flatten() {
            tree.nodes[*end].slot = Some(0);
        }
        tree.number(0);
        let slots = ends
            .into_iter()
            .map(|end| {
                end.and_then(|node| tree.nodes[node].slot)
                    .unwrap_or(NOWHERE)
            })
            .collect();
        (tree, slots)
    }

    /// What is in a value that is null: itself, and nothing below. Slots hold `Found::Missing` before.
    pub fn find_in_null(&self, found: &mut [Found<'_>]) {
        if let Some(slot) = self.nodes[0].slot {
            found[slot] = Found::Null;
        }
    }

    fn insert(&mut self, pointer: &str) -> Option<usize> {
        let mut node = 0;
        for token in tokens(pointer)? {
            let known = self.nodes[node]
                .children
                .iter()
                .find(|(name, _)| **name == *token)
                .map(|(_, child)| *child);
            node = known.unwrap_or_else(|| {
                let child = self.nodes.len();
                self.nodes.push(Node::default());
                self.nodes[node].children.push((token.into(), child));
                child
            });
        }
        Some(node)
    }

    /// Numbers slots in depth-first order, so that a subtree's are contiguous.
    fn number(&mut self, node: usize) {
        let first = self.slots;
        if self.nodes[node].slot.is_some() {
            self.nodes[node].slot = Some(self.slots);
            self.slots += 1;
        }
        for i in 0..self.nodes[node].children.len() {
            self.number(self.nodes[node].children[i].1);
        }
        self.nodes[node].slots = first..self.slots;
    }
}

/// The reference tokens of a pointer, unescaped; none if it is not a pointer.
pub(crate) fn tokens(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let rest = pointer.strip_prefix('/')?;
    Some(
        rest.split('/')
            .map(|token| token.replace("~1", "/").replace("~0", "~"))
            .collect(),
    )
}

/// The array index that a reference token means: digits without leading zero.
pub(crate) fn index(token: &str) -> Option<usize> {
    let plain =
        token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if plain { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_in_the_order_that_the_standard_demands() {
        assert_eq!(
            tokens("/a~1b/~01/"),
            Some(vec!["a/b".into(), "~1".into(), String::new()])
        );
        assert_eq!(tokens(""), Some(vec![]));
        assert_eq!(tokens("a"), None);
    }

    #[test]
    fn slots_of_a_subtree_are_contiguous_and_equal_pointers_share() {
        let (tree, slots) = Tree::of(["/a/b", "/c", "/a", "/a/b", "nowhere"]);
        assert_eq!(slots, [1, 2, 0, 1, NOWHERE]);
        let a = tree.nodes[0].children[0].1;
        assert_eq!((tree.nodes[a].slots.clone(), tree.slots), (0..2, 3));
    }

    #[test]
    fn array_indexes_have_no_leading_zero() {
        assert_eq!(
            ["0", "10", "01", "-", "", "+1"].map(index),
            [Some(0), Some(10), None, None, None, None]
        );
    }
}
