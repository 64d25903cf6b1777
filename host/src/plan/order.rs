//! In which order components start and stop: the waves that `after` makes.
//!
//! Invariant: each component is in exactly one wave, behind all that it has to wait for. How long a wave may
//! take is not known here.

use std::collections::BTreeMap;

use super::types::Plan;

impl Plan {
    /// Returns the waves of a start, as places in [`Plan::components`]: who comes after nobody is in the first,
    /// everyone else in the one behind the last of those that it comes after.
    #[must_use]
    pub fn start_waves(&self) -> Vec<Vec<usize>> {
        waves(&self.needs())
    }

    /// Returns the waves of a stop, as places in [`Plan::components`]: after whom nobody comes is in the first,
    /// everyone else in the one behind the last of those that come after it.
    #[must_use]
    pub fn stop_waves(&self) -> Vec<Vec<usize>> {
        waves(&turned_round(&self.needs()))
    }

    /// For each component those that it comes after. Who does not exist counts for nothing: a manifest is
    /// checked for that.
    fn needs(&self) -> Vec<Vec<usize>> {
        let names = self.components.iter().enumerate().map(|(place, component)| (&component.name, place));
        let places: BTreeMap<&String, usize> = names.collect();
        let needs = |after: &[String]| after.iter().filter_map(|name| places.get(name).copied()).collect();
        self.components.iter().map(|component| needs(&component.after)).collect()
    }
}

fn turned_round(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut turned = vec![Vec::new(); edges.len()];
    for (from, targets) in edges.iter().enumerate() {
        for to in targets {
            if let Some(edges) = turned.get_mut(*to) {
                edges.push(from);
            }
        }
    }
    turned
}

/// The waves in which each comes behind all that it needs. Loops instead of recursion: a manifest can be as deep
/// as it likes.
fn waves(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let needed_by = turned_round(needs);
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut wave: Vec<usize> = places(&missing, |count| count == 0);
    let mut waves = Vec::new();
    while !wave.is_empty() {
        let mut next = Vec::new();
        for user in wave.iter().filter_map(|place| needed_by.get(*place)).flatten() {
            if let Some(count) = missing.get_mut(*user) {
                *count -= 1;
                if *count == 0 {
                    next.push(*user);
                }
            }
        }
        next.sort_unstable();
        waves.push(std::mem::replace(&mut wave, next));
    }
    // No manifest has a circle. An embedder's plan can: nobody of it may be lost.
    let in_circles = places(&missing, |count| count > 0);
    waves.extend((!in_circles.is_empty()).then_some(in_circles));
    waves
}

fn places(counts: &[usize], is_meant: impl Fn(usize) -> bool) -> Vec<usize> {
    counts.iter().enumerate().filter(|(_, count)| is_meant(**count)).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::from_files::Bare;
    use super::*;

    /// A plan of components `a`, `b`, … with these `after`.
    fn plan(after: &[&[&str]]) -> Plan {
        let dir = tempfile::tempdir().unwrap();
        let file =
            |n: usize| dir.path().join(format!("{}.wasm", char::from(b'a' + u8::try_from(n).unwrap())));
        let files: Vec<_> = (0..after.len()).map(file).collect();
        files.iter().for_each(|file| std::fs::write(file, "").unwrap());
        let mut plan = Plan::from_files(&files, &Bare::default()).unwrap();
        for (component, after) in plan.components.iter_mut().zip(after) {
            component.after = after.iter().map(|name| (*name).to_owned()).collect();
        }
        plan
    }

    #[test]
    fn waves_of_a_start_and_of_a_stop() {
        let alone = plan(&[&[], &[], &[]]);
        assert_eq!((alone.start_waves(), alone.stop_waves()), (vec![vec![0, 1, 2]], vec![vec![0, 1, 2]]));
        // web after queue after db; log is for itself; web after db, too.
        let shop = plan(&[&["b", "c"], &["c"], &[], &[]]);
        assert_eq!(shop.start_waves(), [vec![2, 3], vec![1], vec![0]]);
        assert_eq!(shop.stop_waves(), [vec![0, 3], vec![1], vec![2]]);
        // Not one the reverse of the other: each stops as early as it may.
        let fork = plan(&[&[], &["a"], &["b"], &["a"]]);
        assert_eq!(fork.start_waves(), [vec![0], vec![1, 3], vec![2]]);
        assert_eq!(fork.stop_waves(), [vec![2, 3], vec![1], vec![0]]);
    }

    #[test]
    fn nobody_is_lost_in_a_plan_that_no_manifest_makes() {
        assert_eq!(plan(&[&["b"], &["a"], &[], &["a"]]).start_waves(), [vec![2], vec![0, 1, 3]]);
        assert_eq!(plan(&[&["nobody"], &["a", "a"]]).start_waves(), [vec![0], vec![1]]);
        assert_eq!(plan(&[&["a"]]).stop_waves(), [vec![0]]);
    }

    /// The wave of `place` by the words of the definition.
    fn wave_of(place: usize, needs: &[Vec<usize>]) -> usize {
        needs[place].iter().map(|need| 1 + wave_of(*need, needs)).max().unwrap_or(0)
    }

    /// Who needs whom, without circles: each only those before it, in an order that is shuffled.
    fn needs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        let edges = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..12);
        let shuffled = edges.prop_flat_map(|edges| {
            let order: Vec<usize> = (0..edges.len()).collect();
            (Just(edges), Just(order).prop_shuffle())
        });
        shuffled.prop_map(|(edges, order)| {
            let mut needs = vec![Vec::new(); edges.len()];
            for (rank, picks) in edges.iter().enumerate().skip(1) {
                needs[order[rank]] = picks.iter().map(|pick| order[pick.index(rank)]).collect();
            }
            needs
        })
    }

    proptest! {
        #[test]
        fn waves_are_what_the_definition_says(needs in needs()) {
            for edges in [turned_round(&needs), needs] {
                let mut expected: Vec<Vec<usize>> = Vec::new();
                for place in 0..edges.len() {
                    let wave = wave_of(place, &edges);
                    expected.resize(expected.len().max(wave + 1), Vec::new());
                    expected[wave].push(place);
                }
                prop_assert_eq!(waves(&edges), expected);
            }
        }
    }
}
