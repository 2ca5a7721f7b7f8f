//! Who is attached to a container, and as what: who may watch, who may type. Pure.

use std::str::FromStr;

/// What a client wants to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Watches and types, as others may.
    #[default]
    Shared,
    /// Watches.
    ReadOnly,
    /// Is the only one.
    Exclusive,
    /// Is the only one that types; others may watch.
    ExclusiveWrite,
    /// Types as others may, and is content to watch where somebody types alone.
    ReadOnlyOk,
}

/// A word that names none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access {0:?}: expected shared, read-only, exclusive, exclusive-write or read-only-ok")]
pub struct NoAccess(String);

impl FromStr for Access {
    type Err = NoAccess;

    fn from_str(text: &str) -> Result<Self, NoAccess> {
        Ok(match text {
            "shared" => Self::Shared,
            "read-only" => Self::ReadOnly,
            "exclusive" => Self::Exclusive,
            "exclusive-write" => Self::ExclusiveWrite,
            "read-only-ok" => Self::ReadOnlyOk,
            other => return Err(NoAccess(other.to_owned())),
        })
    }
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// Somebody wants to be alone.
    #[error("another client is attached to it exclusively")]
    Exclusive,
    /// Somebody types alone.
    #[error("another client types to it exclusively: --access read-only watches it")]
    ExclusiveWrite,
    /// There are others.
    #[error("{0} other clients are attached to it")]
    Others(usize),
    /// Others type.
    #[error("{0} other clients type to it")]
    Writers(usize),
}

/// What a client has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// It may type.
    pub types: bool,
    alone: bool,
    types_alone: bool,
}

/// Everybody attached to one session.
#[derive(Debug, Default)]
pub struct Seats {
    watching: usize,
    typing: usize,
    alone: bool,
    types_alone: bool,
}

impl Seats {
    /// One more client.
    ///
    /// # Errors
    /// Somebody who is there does not allow it, or it does not allow them.
    pub fn sit(&mut self, access: Access) -> Result<Granted, Taken> {
        if self.alone {
            return Err(Taken::Exclusive);
        }
        let granted = Granted {
            types: match access {
                Access::ReadOnly => false,
                Access::ReadOnlyOk => !self.types_alone,
                Access::Shared | Access::Exclusive | Access::ExclusiveWrite => true,
            },
            alone: access == Access::Exclusive,
            types_alone: access == Access::ExclusiveWrite,
        };
        let others = self.watching + self.typing;
        if granted.alone && others > 0 {
            return Err(Taken::Others(others));
        }
        if granted.types && self.types_alone {
            return Err(Taken::ExclusiveWrite);
        }
        if granted.types_alone && self.typing > 0 {
            return Err(Taken::Writers(self.typing));
        }
        *self.count(granted) += 1;
        self.alone |= granted.alone;
        self.types_alone |= granted.types_alone;
        Ok(granted)
    }

    /// It has gone.
    pub fn leave(&mut self, granted: Granted) {
        let count = self.count(granted);
        *count = count.saturating_sub(1);
        self.alone &= !granted.alone;
        self.types_alone &= !granted.types_alone;
    }

    /// Clients that watch only, and those that type.
    pub fn counts(&self) -> (usize, usize) {
        (self.watching, self.typing)
    }

    fn count(&mut self, granted: Granted) -> &mut usize {
        if granted.types {
            &mut self.typing
        } else {
            &mut self.watching
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Access; 5] = [
        Access::Shared,
        Access::ReadOnly,
        Access::Exclusive,
        Access::ExclusiveWrite,
        Access::ReadOnlyOk,
    ];

    /// What the second client gets beside the first: whether it types, or why not.
    fn beside(first: Access, second: Access) -> Result<bool, Taken> {
        let mut seats = Seats::default();
        seats.sit(first).expect("the first");
        seats.sit(second).map(|granted| granted.types)
    }

    #[test]
    fn each_pair_gets_along_or_is_told_why_not() {
        use Access::*;
        let (ok, watches) = (Ok(true), Ok(false));
        let rows = [
            (
                Shared,
                [
                    ok,
                    watches,
                    Err(Taken::Others(1)),
                    Err(Taken::Writers(1)),
                    ok,
                ],
            ),
            (ReadOnly, [ok, watches, Err(Taken::Others(1)), ok, ok]),
            (Exclusive, [Err(Taken::Exclusive); 5]),
            (
                ExclusiveWrite,
                [
                    Err(Taken::ExclusiveWrite),
                    watches,
                    Err(Taken::Others(1)),
                    Err(Taken::ExclusiveWrite),
                    watches,
                ],
            ),
            (
                ReadOnlyOk,
                [
                    ok,
                    watches,
                    Err(Taken::Others(1)),
                    Err(Taken::Writers(1)),
                    ok,
                ],
            ),
        ];
        for (first, row) in rows {
            for (second, expected) in ALL.into_iter().zip(row) {
                assert_eq!(
                    beside(first, second),
                    expected,
                    "{second:?} beside {first:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn who_is_alone_is_alone_and_all_seats_come_back(
            steps in prop::collection::vec((any::<bool>(), 0_usize..5), 0..60)
        ) {
            let (mut seats, mut taken) = (Seats::default(), Vec::<Granted>::new());
            for (comes, number) in steps {
                if comes {
                    taken.extend(seats.sit(ALL[number]).ok());
                } else if !taken.is_empty() {
                    seats.leave(taken.remove(number % taken.len()));
                }
                let typing = taken.iter().filter(|g| g.types).count();
                prop_assert!(!taken.iter().any(|g| g.alone) || taken.len() == 1);
                prop_assert!(!taken.iter().any(|g| g.types_alone) || typing == 1);
                prop_assert_eq!(seats.counts(), (taken.len() - typing, typing));
            }
            for granted in taken {
                seats.leave(granted);
            }
            prop_assert_eq!(seats.sit(Access::Exclusive).map(|g| g.types), Ok(true));
        }
    }
}
