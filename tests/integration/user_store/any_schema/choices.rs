//! Choices that are made beforehand, so that a failure can be made smaller by leaving some out.

pub struct Choices {
    left: std::vec::IntoIter<u16>,
}

impl Choices {
    pub fn new(choices: Vec<u16>) -> Self {
        Choices { left: choices.into_iter() }
    }

    /// A number below a limit; the smallest when there are no choices left.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.left.next().unwrap_or(0)) % limit
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    pub fn pick<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        among[self.below(among.len())]
    }

    pub fn is_over(&self) -> bool {
        self.left.as_slice().is_empty()
    }
}
