//! The end that asks for a user store of another machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::super::end::{
    Base, Exported, Import, Order, PageSink, Published, Replacement, Seen, Sent, Standing, Survey, UserEnd,
};
use super::super::hashes::Seed;
use super::super::mark::Mark;
use super::parts::{HASHES_AT_ONCE, Part, hash_bytes, root_of};
use super::{
    ExportAnswer, ExportRequest, Known, SendAnswer, SendRequest, StandingAnswer, StoreName, SurveyAnswer,
    message,
};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::Rights;
use crate::report::Moved;
use crate::store::remote::RemotePlace;
use crate::store::sqlite::format::header::{blank, lock_page};
use crate::store::user::StoreState;
use crate::store::{Generation, Trace, Until};
use crate::topology::{StoreUrl, UserStoreConfig};
use crate::wire::Call;

/// A user store at another machine, as what servers write to and as a copy. It can be read; who writes it runs at that machine.
pub(in super::super) struct RemoteEnd {
    place: Arc<RemotePlace>,
    store: StoreName,
    /// For people.
    shown: PathBuf,
}

impl RemoteEnd {
    /// The store at a URL of this place. Nothing is called yet.
    ///
    /// # Errors
    /// `InvalidValue`, `UnsupportedStore`: see [`RemotePlace::relative`].
    pub(in super::super) fn new(
        place: &Arc<RemotePlace>,
        url: &StoreUrl,
        config: &UserStoreConfig,
    ) -> Result<Self> {
        let path = place.relative(url)?;
        let shown = PathBuf::from(format!("{}/{path}", place.to_string().trim_end_matches('/')));
        Ok(RemoteEnd { place: Arc::clone(place), store: StoreName::new(path, config), shown })
    }

    fn ask<T: DeserializeOwned>(&self, message: u8, request: &impl Serialize) -> Result<T> {
        self.place.ask(message, request, &CancellationToken::new())
    }

    fn known(&self, mark: Option<&Mark>) -> Known {
        Known { store: self.store.clone(), mark: mark.cloned() }
    }

    /// A refusal that was told as a part of an answer.
    fn refusal(&self, document: Option<String>) -> Option<Error> {
        let error = serde_json::from_str::<Error>(&document?).ok()?;
        Some(error.at("place", &self.place))
    }

    /// One attempt; the inner result is none where the list that was built is not the one that the helper has.
    fn try_export(
        &self,
        base: &Base,
        without_cache: bool,
        to: &dyn PageSink,
        until: &Until,
    ) -> Result<Option<Exported>> {
        let patience = until.deadline.saturating_duration_since(Instant::now());
        let request = ExportRequest {
            store: self.store.clone(),
            seed: base.seed,
            layout: base.layout,
            mark: base.mark.clone(),
            pages: u32::try_from(base.hashes.len()).unwrap_or(u32::MAX),
            root: root_of(&base.hashes),
            without_cache,
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        };
        let mut call = self.place.call(message::EXPORT, &request, &until.cancel).map_err(at_source)?;
        let mut received = Received::new(base);
        loop {
            match call.next() {
                Ok(None) => break,
                Ok(Some(part)) => match Part::of(&part).ok_or_else(|| call.not_understood())? {
                    Part::Need => send_hashes(&mut call, &base.hashes).map_err(at_source)?,
                    part => received.take(part, to)?,
                },
                Err(error) => {
                    // What had come by then is kept by a first copy, and need not come once more.
                    while let Some(part) = call.left() {
                        Part::of(&part).map_or(Ok(()), |part| received.take(part, to))?;
                    }
                    return Err(at_source(error));
                }
            }
        }
        let answer: ExportAnswer = call.answer().map_err(at_source)?;
        received.exported(answer, &call)
    }
}

/// Where it is read the failure is; what a sink fails with is its own.
fn at_source(error: Error) -> Error {
    Side::Export.failed()(error)
}

/// Hands the hashes over that the helper does not know.
fn send_hashes(call: &mut Call, hashes: &[u128]) -> Result<()> {
    hashes.chunks(HASHES_AT_ONCE).try_for_each(|hashes| call.send(&hash_bytes(hashes)))?;
    call.end_parts()
}

/// What came, and what the pages hash to then.
struct Received<'b> {
    base: &'b Base,
    seed: Seed,
    hashes: Vec<u128>,
    first_page: Option<Vec<u8>>,
    /// How long the list has to be for all pages that came.
    needed: usize,
}

impl<'b> Received<'b> {
    fn new(base: &'b Base) -> Self {
        Received { base, seed: base.seed, hashes: base.hashes.to_vec(), first_page: None, needed: 0 }
    }

    fn take(&mut self, part: Part<'_>, to: &dyn PageSink) -> Result<()> {
        match part {
            Part::Need => {}
            Part::First { content } => self.first_page = Some(content.to_vec()),
            Part::Reset => {
                *self = Received::new(self.base);
                to.reset()?;
            }
            Part::Progress { done, total } => to.tell(done, total),
            Part::Wait => to.wait(),
            Part::Run { first, page_size, content } => {
                let page_size = page_size as usize;
                let last = first as usize - 1 + content.len() / page_size;
                self.needed = self.needed.max(last);
                // Pages come in any order, but hardly ever far ahead of each other.
                if self.hashes.len() < last {
                    self.hashes.resize(last, 0);
                }
                for (at, page) in (first as usize - 1..).zip(content.chunks_exact(page_size)) {
                    // The first page comes once more, as it is compared.
                    if at > 0 {
                        self.hashes[at] = self.seed.of(page);
                    }
                }
                to.put(first, content, page_size)?;
            }
        }
        Ok(())
    }

    fn exported(mut self, answer: ExportAnswer, call: &Call) -> Result<Option<Exported>> {
        if self.needed > answer.pages as usize || answer.pages == 0 {
            return Err(call.not_understood());
        }
        self.hashes.resize(answer.pages as usize, 0);
        if let Some(first) = &self.first_page {
            let mut first = first.clone();
            blank(&mut first, answer.pages);
            self.hashes[0] = self.seed.of(&first);
        }
        let never = lock_page(answer.layout.page_size) as usize;
        if let Some(hash) = self.hashes.get_mut(never - 1) {
            *hash = 0;
        }
        if root_of(&self.hashes) != answer.root {
            return Ok(None);
        }
        Ok(Some(Exported {
            way: answer.way,
            attempts: answer.attempts,
            layout: answer.layout,
            pages: answer.pages,
            first_page: self.first_page,
            hashes: self.hashes,
            suspects: answer.suspects,
            mark: answer.mark,
            undone: answer.undone,
        }))
    }
}

impl UserEnd for RemoteEnd {
    fn path(&self) -> &Path {
        &self.shown
    }

    fn look(&self, known: Option<&Mark>) -> Result<Seen> {
        let is_unchanged: bool = self.ask(message::LOOK, &self.known(known)).map_err(at_source)?;
        // Whoever was told nothing cannot know that it is so.
        let is_unchanged = is_unchanged && known.is_some();
        // Accounts and groups of another machine are others than those of the same number here.
        Ok(Seen { is_unchanged, rights: Rights::PRIVATE })
    }

    fn survey(&self, known: Option<&Mark>) -> Result<Survey> {
        let SurveyAnswer { is_unchanged, pending, refused } =
            self.ask(message::SURVEY, &self.known(known))?;
        let is_unchanged = is_unchanged && known.is_some();
        Ok(Survey { is_unchanged, pending, refused: self.refusal(refused) })
    }

    fn export(&self, base: &Base, to: &dyn PageSink, until: &Until) -> Result<Exported> {
        // What the helper remembered may have been changed by somebody: then it is told everything, once.
        for without_cache in [false, true] {
            if let Some(exported) = self.try_export(base, without_cache, to, until)? {
                return Ok(exported);
            }
            to.reset()?;
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            format!("What came from {} is not what was read there.", self.shown.display()),
            "Run the command again. If it is said again, look at the memory of both machines.",
        )
        .at("place", &self.place))
    }

    fn is_lost(&self, known: Option<&Mark>) -> Result<bool> {
        self.ask(message::IS_LOST, &self.known(known))
    }

    fn replace(&self, _rights: Option<Rights>, _known: Option<&Mark>) -> Result<Box<dyn Replacement>> {
        Err(self.place.refuses("Giving a user store back"))
    }

    fn standing(&self) -> Result<Standing> {
        let standing: StandingAnswer = self.ask(message::STANDING, &self.store)?;
        Ok(Standing {
            mark: standing.mark,
            revision: standing.revision,
            confirmed: standing.confirmed,
            is_touched: standing.is_touched,
            rights: None,
            refused: self.refusal(standing.refused),
        })
    }

    fn import(&self, _order: Order) -> Result<Box<dyn Import>> {
        Err(self.place.refuses("Writing the copy of a user store"))
    }

    fn rehearse(&self, _order: Order) -> Result<Box<dyn Import>> {
        Err(self.place.refuses("Writing the copy of a user store"))
    }

    fn size(&self) -> Result<Option<Moved>> {
        self.ask(message::SIZE, &self.store)
    }

    fn states(&self) -> Result<Vec<StoreState>> {
        self.ask(message::STATES, &self.store)
    }

    fn send(
        &self,
        revision: Option<u32>,
        generation: Generation,
        to: &dyn PageSink,
        cancel: &CancellationToken,
    ) -> Result<Sent> {
        let request = SendRequest { store: self.store.clone(), revision, generation: generation.0 };
        let mut call = self.place.call(message::SEND, &request, cancel).map_err(at_source)?;
        while let Some(part) = call.next().map_err(at_source)? {
            match Part::of(&part).ok_or_else(|| call.not_understood())? {
                Part::Run { first, page_size, content } => to.put(first, content, page_size as usize)?,
                Part::Reset => to.reset()?,
                Part::Progress { done, total } => to.tell(done, total),
                Part::Wait => to.wait(),
                Part::Need | Part::First { .. } => return Err(call.not_understood()),
            }
        }
        let SendAnswer { state, pages, page_size, versions, findings } = call.answer().map_err(at_source)?;
        Ok(Sent { from: self.shown.clone(), state, pages, page_size, versions, findings })
    }

    /// The copy is not written from here: its next sync finds that the store is another file, and compares everything.
    fn note_replaced(&self, _sent: &Sent, _published: &Published, _order: &Order) -> Result<()> {
        Ok(())
    }

    fn fence(&self, _is_raised: bool, _until: &Until) -> Result<()> {
        Err(self.place.refuses("Fencing a user store"))
    }

    fn promote(&self, _generation: Generation, _until: &Until) -> Result<Vec<String>> {
        Err(self.place.refuses("Making a copy what servers write to"))
    }

    fn former(&self) -> Vec<(String, String)> {
        self.ask(message::FORMER, &self.store).unwrap_or_default()
    }

    fn remove_former(&self) -> Result<Vec<Trace>> {
        Err(self.place.refuses("Removing what an earlier build left in a user store"))
    }

    fn lift(&self, _dry_run: bool, _cancel: &CancellationToken) -> Result<Vec<Trace>> {
        Err(self.place.refuses("Taking the copy of a user store away"))
    }
}
