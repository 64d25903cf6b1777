//! The order in which components start and stop: the waves that `after` makes.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;

/// For each key those that it needs.
pub type Needs<K> = BTreeMap<K, BTreeSet<K>>;

/// Sorts the keys into waves: each is in the wave behind the last of those that it needs, or in the first. Returns the waves, and
/// the keys that have none: those in a circle, and those that need them. A need that is no key itself does not count.
pub(super) fn waves<K: Copy + Ord>(needs: &Needs<K>) -> (Vec<Vec<K>>, BTreeSet<K>) {
    let needed_by = reversed(needs);
    let known = |needs: &BTreeSet<K>| needs.iter().filter(|need| needed_by.contains_key(need)).count();
    let mut missing: BTreeMap<K, usize> = needs.iter().map(|(key, needs)| (*key, known(needs))).collect();
    let mut wave: Vec<K> = missing.iter().filter(|(_, count)| **count == 0).map(|(key, _)| *key).collect();
    let mut waves = Vec::new();
    while !wave.is_empty() {
        let mut next = Vec::new();
        for user in wave.iter().filter_map(|key| needed_by.get(key)).flatten() {
            if let Some(count) = missing.get_mut(user) {
                *count -= 1;
                if *count == 0 {
                    next.push(*user);
                }
            }
        }
        next.sort_unstable();
        waves.push(std::mem::replace(&mut wave, next));
    }
    (waves, missing.into_iter().filter(|(_, count)| *count > 0).map(|(key, _)| key).collect())
}

/// Returns for each key those that need it.
pub fn reversed<K: Copy + Ord>(needs: &Needs<K>) -> Needs<K> {
    let mut needed_by: Needs<K> = needs.keys().map(|key| (*key, BTreeSet::new())).collect();
    for (user, needed) in needs {
        for need in needed {
            if let Some(users) = needed_by.get_mut(need) {
                users.insert(*user);
            }
        }
    }
    needed_by
}

/// Returns the waves of all keys. No manifest has a circle, but the plan of an embedder can: its keys are in the last wave.
pub fn all_waves<K: Copy + Ord>(needs: &Needs<K>) -> Vec<Vec<K>> {
    let (mut waves, circles) = waves(needs);
    waves.extend((!circles.is_empty()).then(|| circles.into_iter().collect()));
    waves
}

impl Plan {
    /// Returns the waves of a start, as places in [`Plan::components`].
    pub fn start_waves(&self) -> Vec<Vec<usize>> {
        all_waves(&self.needs())
    }

    /// Returns the waves of a stop, as places in [`Plan::components`].
    pub fn stop_waves(&self) -> Vec<Vec<usize>> {
        all_waves(&reversed(&self.needs()))
    }

    fn needs(&self) -> Needs<usize> {
        let places: BTreeMap<_, _> = self.components.iter().map(|one| &one.name).zip(0..).collect();
        let needs = |after: &[String]| after.iter().filter_map(|name| places.get(name).copied()).collect();
        self.components.iter().map(|component| needs(&component.after)).enumerate().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Bare;
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

    /// Needs without circles: each only those before it, in an order that is shuffled.
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
            let places = |edges: &[Vec<usize>]| -> Needs<usize> {
                edges.iter().map(|edges| edges.iter().copied().collect()).enumerate().collect()
            };
            let reversed = reversed(&places(&needs)).into_values().map(|users| users.into_iter().collect());
            for edges in [reversed.collect(), needs] {
                let mut expected: Vec<Vec<usize>> = Vec::new();
                for place in 0..edges.len() {
                    let wave = wave_of(place, &edges);
                    expected.resize(expected.len().max(wave + 1), Vec::new());
                    expected[wave].push(place);
                }
                prop_assert_eq!(waves(&places(&edges)), (expected, BTreeSet::new()));
            }
        }
    }
}
