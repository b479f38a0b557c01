//! Where the steps of a plan stand: columns by what they wait for, rows so that few lines cross.

use std::collections::BTreeMap;

/// Steps of a graph that is still drawn.
pub(crate) const STEPS_MAX: usize = 150;

/// A step to be placed.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) needs: &'a [String],
}

/// Where it stands; column and row from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) column: usize,
    pub(crate) row: usize,
}

/// The places in the order of the nodes, and the edges as indices from needed to needing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) places: Vec<Place>,
    pub(crate) edges: Vec<(usize, usize)>,
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// Places the steps; none when there are too many to be drawn. Edges that can be walked on other
/// steps too are left out.
pub(crate) fn layout(nodes: &[Node<'_>]) -> Layout {
    if nodes.is_empty() || nodes.len() > STEPS_MAX {
        return Layout::default();
    }
    let index: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(i, n)| (n.name, i)).collect();
    let needs: Vec<Vec<usize>> = nodes
        .iter()
        .map(|n| n.needs.iter().filter_map(|name| index.get(name.as_str()).copied()).collect())
        .collect();
    let column = columns(&needs);
    let count = column.iter().max().map_or(0, |c| c + 1);
    let mut by_column: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (i, c) in column.iter().enumerate() {
        by_column[*c].push(i);
    }
    let mut row = vec![0; nodes.len()];
    for members in &mut by_column {
        members.sort_by_key(|i| {
            let parents = &needs[*i];
            let sum: usize = parents.iter().map(|p| row[*p] * 1000).sum();
            (sum.checked_div(parents.len()).unwrap_or(0), *i)
        });
        for (at, i) in members.iter().enumerate() {
            row[*i] = at;
        }
    }
    let places = column.iter().zip(&row).map(|(c, r)| Place { column: *c, row: *r }).collect();
    let rows = by_column.iter().map(Vec::len).max().unwrap_or(0);
    Layout { places, edges: edges(&needs), columns: count, rows }
}

/// The longest way to each; a circle, which no plan has, ends at the number of nodes.
fn columns(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut column = vec![0; needs.len()];
    for _ in 0..needs.len() {
        let mut moved = false;
        for (i, parents) in needs.iter().enumerate() {
            let least = parents.iter().map(|p| column[*p] + 1).max().unwrap_or(0);
            if least > column[i] && least < needs.len() {
                column[i] = least;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    column
}

fn edges(needs: &[Vec<usize>]) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    for (to, parents) in needs.iter().enumerate() {
        for from in parents {
            let roundabout = parents.iter().any(|p| p != from && reaches(needs, *p, *from));
            if !roundabout {
                edges.push((*from, to));
            }
        }
    }
    edges
}

/// Whether `to` is needed by `from`, directly or not.
fn reaches(needs: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; needs.len()];
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            open.extend(&needs[at]);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(steps: &[(&str, &[&str])]) -> Layout {
        let needs: Vec<Vec<String>> =
            steps.iter().map(|(_, n)| n.iter().map(|n| (*n).to_owned()).collect()).collect();
        let nodes: Vec<Node<'_>> =
            steps.iter().zip(&needs).map(|((name, _), needs)| Node { name, needs }).collect();
        layout(&nodes)
    }

    #[test]
    fn a_diamond_has_three_columns_and_no_shortcut() {
        let got = laid(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["a", "b", "c", "x"])]);
        let at: Vec<_> = got.places.iter().map(|p| (p.column, p.row)).collect();
        assert_eq!(at, [(0, 0), (1, 0), (1, 1), (2, 0)]);
        assert_eq!(got.edges, [(0, 1), (0, 2), (1, 3), (2, 3)]);
        assert_eq!((got.columns, got.rows), (3, 2));
    }

    #[test]
    fn circles_and_crowds_do_no_harm() {
        laid(&[("a", &["b"]), ("b", &["a"]), ("c", &["c"])]);
        assert_eq!(layout(&[]), Layout::default());
    }
}
