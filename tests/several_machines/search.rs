//! A search over all states that a system can reach, breadth first: what it finds, it finds by a shortest way.
//!
//! Must not know: what the system is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A system that goes from state to state.
pub(crate) trait System {
    type State: Copy + Eq + Hash;
    type Step: Copy;

    fn first(&self) -> Self::State;

    /// Calls `found` with each step that is possible in `state`, and with the state behind it.
    fn steps(&self, state: &Self::State, found: impl FnMut(Self::Step, Self::State));
}

/// Every state that a system reaches, the nearest first.
pub(crate) struct Reached<S: System> {
    states: Vec<S::State>,
    /// For each state but the first: the state and the step that led there first. Two steps of one state may lead to the same.
    came_from: Vec<Option<(u32, S::Step)>>,
    edges: Vec<Edge<S::Step>>,
}

struct Edge<Step> {
    from: u32,
    step: Step,
    to: u32,
}

impl<S: System> Reached<S> {
    /// Searches everything.
    pub(crate) fn by(system: &S) -> Self {
        Self::until(system, |_| false).0
    }

    /// Searches until a state `is_wanted`; the second value is its number.
    pub(crate) fn until(system: &S, is_wanted: impl Fn(&S::State) -> bool) -> (Self, Option<u32>) {
        let first = system.first();
        let mut numbers: Numbers<S::State> = HashMap::default();
        numbers.insert(first, 0);
        let mut all = Self {
            states: vec![first],
            came_from: vec![None],
            edges: Vec::new(),
        };
        let mut next = 0;
        while let Some(state) = all.states.get(next).copied() {
            let number = u32::try_from(next).unwrap();
            if is_wanted(&state) {
                return (all, Some(number));
            }
            system.steps(&state, |step, after| {
                let count = u32::try_from(all.states.len()).unwrap();
                let to = match numbers.entry(after) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        all.states.push(after);
                        all.came_from.push(Some((number, step)));
                        *entry.insert(count)
                    }
                };
                all.edges.push(Edge {
                    from: number,
                    step,
                    to,
                });
            });
            next += 1;
        }
        (all, None)
    }

    pub(crate) fn first_where(&self, is_wanted: impl Fn(&S::State) -> bool) -> Option<u32> {
        let mut numbered = (0_u32..).zip(&self.states);
        numbered
            .find(|(_, state)| is_wanted(state))
            .map(|(number, _)| number)
    }

    pub(crate) fn states(&self) -> &[S::State] {
        &self.states
    }

    /// Every step, once for each state that it is possible in.
    pub(crate) fn steps(&self) -> impl ExactSizeIterator<Item = S::Step> {
        self.edges.iter().map(|edge| edge.step)
    }

    /// A shortest way from the first state to this one: each step, and the state behind it.
    pub(crate) fn way_to(&self, mut number: u32) -> Vec<(S::Step, S::State)> {
        let mut way = Vec::new();
        while let Some((before, step)) = self.came_from[number as usize] {
            way.push((step, self.states[number as usize]));
            number = before;
        }
        way.reverse();
        way
    }

    /// The nearest state from which no way leads to one that `is_goal`.
    pub(crate) fn nearest_stuck(&self, is_goal: impl Fn(&S::State) -> bool) -> Option<u32> {
        let mut sources: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for edge in &self.edges {
            sources[edge.to as usize].push(edge.from);
        }
        let mut leads: Vec<bool> = self.states.iter().map(is_goal).collect();
        let mut open: Vec<u32> = (0_u32..)
            .zip(&leads)
            .filter(|(_, leads)| **leads)
            .map(|(number, _)| number)
            .collect();
        while let Some(number) = open.pop() {
            for source in &sources[number as usize] {
                if !std::mem::replace(&mut leads[*source as usize], true) {
                    open.push(*source);
                }
            }
        }
        (0_u32..)
            .zip(&leads)
            .find(|(_, leads)| !**leads)
            .map(|(number, _)| number)
    }
}

type Numbers<State> = HashMap<State, u32, BuildHasherDefault<Mixer>>;

/// A hash that is fast in a debug build: a state is some twenty small numbers.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        // The upper bits are the mixed ones, and a table wants both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.cast_unsigned() as u64);
    }
}
