//! The helper's side of a session.

use std::io::{BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::flow::{Flow, Next};
use super::frame::{Frame, Kind, MOST_BYTES};
use super::greeting::{self, Greeting, Hello, Welcome};
use super::link::Link;
use super::messages::{bytes_of, decode, encode, failed};
use super::watch::watch;
use crate::error::{Error, ErrorKind, Result};

/// How many calls are answered at a time.
const MOST_CALLS: usize = 32;

/// How long calls may take to end once their caller has gone.
const LEAVING: Duration = Duration::from_secs(2);

/// Answers calls.
pub trait Answers: Send + Sync {
    /// Answers a caller's first words.
    ///
    /// # Errors
    /// `PeerRefused`: the session ends with it.
    fn welcome(&self, hello: &Hello) -> Result<Welcome>;

    /// Answers a call: a message by its number, and its request. Called on a thread of its own.
    ///
    /// # Errors
    /// What the caller is told.
    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>>;

    /// The caller has gone, while calls of it may still be ending. What nobody else may have in the meantime is given back.
    fn caller_has_gone(&self) {}
}

/// A call that is being answered. Copies of it are of the same call.
#[derive(Clone)]
pub struct Served {
    link: Arc<Link>,
    id: u32,
    flow: Arc<Flow>,
}

impl Served {
    /// Sends a part, and waits until it may.
    ///
    /// # Errors
    /// `Cancelled` once the caller does not wait any more, or has gone; `InvalidArgument` for one that is longer than
    /// [`super::MOST_BYTES`].
    pub fn put(&self, part: &[u8]) -> Result<()> {
        self.flow.spend(part)?;
        self.link.send(Kind::Part, self.id, part).map_err(|_| Error::cancelled())
    }

    /// The caller's next part; none once there are no more.
    ///
    /// # Errors
    /// `Cancelled`, as for [`Served::put`].
    pub fn next_part(&self) -> Result<Option<Vec<u8>>> {
        match self.flow.take()? {
            Next::Part(part, granted) => {
                self.link.grant(self.id, granted).map_err(|_| Error::cancelled())?;
                Ok(Some(part))
            }
            Next::NoMore | Next::Ended(_) => Ok(None),
        }
    }

    /// Cancelled once the caller does not wait any more, or has gone.
    pub fn cancel(&self) -> &CancellationToken {
        &self.flow.cancel
    }
}

/// Answers calls until the caller ends, or is not heard for so long. All calls are cancelled then, and have a moment to end; where one does
/// not, the threads of it are left behind, and the process is to end.
///
/// # Errors
/// Why no session came into being; `StoreUnavailable` where it was cut.
pub fn serve(
    service: Arc<dyn Answers>,
    from: impl Read,
    to: impl Write + Send + 'static,
    silence: Duration,
    on_silence: impl FnOnce() + Send + 'static,
) -> Result<()> {
    let link = Link::new(Box::new(to));
    let serving = Serving {
        service,
        link: Arc::clone(&link),
        running: Mutex::default(),
        all: CancellationToken::new(),
    };
    let (silent, all) = (Arc::clone(&link), serving.all.clone());
    let leave = move || {
        all.cancel();
        silent.close();
        std::thread::sleep(LEAVING);
        on_silence();
    };
    let no_thread = |cause| Error::io("start a thread for", std::path::Path::new("csb-serve"), &cause);
    watch(&link, silence, None, leave).map_err(no_thread)?;
    let done = serving.hear(BufReader::new(from));
    serving.all.cancel();
    serving.service.caller_has_gone();
    if let Err(error) = &done {
        // The caller may still be there, and is told why.
        let _ = link.send(Kind::Failed, 0, &failed(error));
    }
    serving.leave();
    done
}

struct Serving {
    service: Arc<dyn Answers>,
    link: Arc<Link>,
    running: Mutex<Vec<JoinHandle<()>>>,
    /// Above the tokens of all calls.
    all: CancellationToken,
}

impl Serving {
    fn hear(&self, from: impl Read) -> Result<()> {
        let own = Greeting::own();
        let said = |cause: std::io::Error| gone().caused_by(&cause);
        self.link.send_bytes(own.line().as_bytes()).map_err(said)?;
        let mut hearing = self.link.hears(from);
        let Some(theirs) = greeting::read(&mut hearing)? else { return Ok(()) };
        own.agree(&theirs)?;
        let mut is_welcome = false;
        while let Some(frame) = hearing.frame().map_err(said)? {
            match frame.kind {
                Kind::Hello => {
                    let welcome = self.service.welcome(&decode(&frame.content)?)?;
                    self.link.send(Kind::Welcome, 0, &encode(&welcome)?).map_err(said)?;
                    is_welcome = true;
                }
                Kind::Ping => {}
                _ if !is_welcome => return Err(out_of_order()),
                _ => self.take(frame)?,
            }
        }
        Ok(())
    }

    fn take(&self, frame: Frame) -> Result<()> {
        let Frame { kind, call, content } = frame;
        let flow = self.link.calls.find(call);
        match (kind, flow) {
            (Kind::Call, None) => return self.begin(call, content),
            (Kind::Part, Some(flow)) => flow.file(content).then_some(()).ok_or_else(out_of_order)?,
            (Kind::PartsEnd, Some(flow)) => flow.are_all_there(),
            (Kind::Credit, Some(flow)) => flow.grant(bytes_of(&content)),
            (Kind::Cancel, Some(flow)) => flow.cancel.cancel(),
            // What is still said of calls that have ended.
            (Kind::Part | Kind::PartsEnd | Kind::Credit | Kind::Cancel, _) => {}
            _ => return Err(out_of_order()),
        }
        Ok(())
    }

    fn begin(&self, id: u32, content: Vec<u8>) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|thread| !thread.is_finished());
        if running.len() >= MOST_CALLS {
            return Err(out_of_order());
        }
        let flow = Arc::new(Flow::new(self.all.child_token()));
        self.link.calls.begin(id, &flow);
        let (service, link) = (Arc::clone(&self.service), Arc::clone(&self.link));
        let mut served = Served { link: Arc::clone(&link), id, flow: Arc::clone(&flow) };
        let work = move || {
            let Some((message, request)) = content.split_first() else { return };
            let answer = catch_unwind(AssertUnwindSafe(|| service.serve(*message, request, &mut served)));
            link.calls.forget(id);
            // Whoever still waits for a part of it waits for nothing.
            flow.end(Err(Error::cancelled()));
            let answer = answer.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Panic,
                    "csb-serve has a defect.",
                    "Report it, with what was asked for.",
                ))
            });
            // A caller that has gone is told nothing.
            let _ = match answer {
                Ok(answer) if answer.len() <= MOST_BYTES => link.send(Kind::Answer, id, &answer),
                Ok(_) => link.send(Kind::Failed, id, &failed(&too_long())),
                Err(error) => link.send(Kind::Failed, id, &failed(&error)),
            };
        };
        let thread = std::thread::Builder::new().name("csb-serve-call".to_owned()).spawn(work);
        running.push(thread.map_err(|cause| gone().caused_by(&cause))?);
        Ok(())
    }

    /// Waits a moment for what is still running, which was cancelled.
    fn leave(&self) {
        self.link.calls.end_all(Error::cancelled());
        let began = Instant::now();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while began.elapsed() < LEAVING && running.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.link.close();
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::StoreUnavailable, "The caller has gone.", "It says why itself.")
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::Panic,
        "An answer does not fit into a frame.",
        "Report this defect, with what was asked for.",
    )
}

fn out_of_order() -> Error {
    Error::new(
        ErrorKind::PeerIncompatible,
        "The caller says what cannot be said.",
        "Install the same release of CsBackup on both machines.",
    )
}
