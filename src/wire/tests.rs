//! A caller and a helper of one process, joined by sockets.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::frame::Kind;
use super::greeting::Greeting;
use super::*;
use crate::error::{Error, ErrorKind, Result};

/// Answers in the ways that there are.
#[derive(Default)]
struct Helper {
    cancelled: AtomicU32,
}

const ECHO: u8 = 1;
const MANY: u8 = 2;
const FAIL: u8 = 3;
const COUNT: u8 = 4;
const PANIC: u8 = 5;
const WAIT: u8 = 6;
const CALL_BACK: u8 = 7;

impl Answers for Helper {
    fn welcome(&self, hello: &Hello) -> Result<Welcome> {
        if hello.pool != "atl" {
            return Err(Error::new(ErrorKind::PeerRefused, "This is atl.", "Ask atl's."));
        }
        Ok(Welcome {
            pool: "atl".to_owned(),
            partner: None,
            grants: vec!["read".to_owned()],
            system: "linux".to_owned(),
            now_ms: 7,
            silence_seconds: 20,
        })
    }

    fn serve(&self, message: u8, request: &[u8], call: &mut Served) -> Result<Vec<u8>> {
        match message {
            ECHO => Ok(request.to_vec()),
            MANY => {
                let many: u32 = decode(request)?;
                let sent = (0..many).try_for_each(|number| call.put(&vec![number as u8; MOST_BYTES]));
                self.cancelled.fetch_add(u32::from(sent.is_err()), Ordering::SeqCst);
                sent.and_then(|()| encode(&many))
            }
            COUNT => {
                let mut bytes = 0_u64;
                while let Some(part) = call.next_part()? {
                    bytes += part.len() as u64;
                }
                encode(&bytes)
            }
            PANIC => panic!("a defect"),
            WAIT => {
                while !call.cancel().is_cancelled() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                Err(Error::cancelled())
            }
            CALL_BACK => {
                let tunnel = Tunnel::new(call, b'<');
                let session = tunnel.session("the caller", &hello())?;
                let (cancel, mut bytes) = (call.cancel().clone(), 0);
                let mut many = session.call(MANY, &decode::<u32>(request)?, &cancel)?;
                while let Some(part) = many.next()? {
                    bytes += part.len();
                }
                let echoed: u32 = session.call(ECHO, &9_u32, &cancel)?.answer()?;
                assert_eq!(
                    tunnel.session("the caller", &hello()).err().unwrap().kind,
                    ErrorKind::StoreUnavailable
                );
                call.put(b"=told beside it")?;
                session.call(FAIL, &0_u32, &cancel)?.answer::<u32>().unwrap_err();
                encode(&(bytes as u64 + u64::from(echoed)))
            }
            _ => Err(Error::new(ErrorKind::StoreBusy, "Busy.", "Wait.").at("path", "x")),
        }
    }
}

/// Answers what the helper asks back, and returns what else it said.
fn answered_within(call: &mut Call) -> Result<Vec<Vec<u8>>> {
    let (to, parts) = std::sync::mpsc::sync_channel(4);
    answer_within(call.sender(), parts, Arc::new(Helper::default())).unwrap();
    let mut told = Vec::new();
    while let Some(part) = call.next()? {
        match part.split_first().unwrap() {
            (b'<', rest) => to.send(rest.to_vec()).unwrap(),
            _ => told.push(part),
        }
    }
    Ok(told)
}

fn hello() -> Hello {
    Hello { pool: "atl".to_owned(), silence_seconds: 20 }
}

fn joined(helper: &Arc<Helper>, hello: &Hello) -> Arc<Session> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let service = Arc::clone(helper) as Arc<dyn Answers>;
    std::thread::spawn(move || serve(service, theirs.try_clone().unwrap(), theirs, SILENCE, || ()));
    Session::over(ours.try_clone().unwrap(), ours, "ssh://atl", hello, SILENCE).unwrap()
}

fn call(session: &Session, message: u8, request: u32) -> Call {
    session.call(message, &request, &CancellationToken::new()).unwrap()
}

fn eventually(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn calls_are_answered_side_by_side_in_parts_and_failures_are_the_helpers_own() {
    let session = joined(&Arc::default(), &hello());
    let mut many = call(&session, MANY, 40);
    assert_eq!(
        call(&session, ECHO, 9).answer::<u32>().unwrap(),
        9,
        "though the other call has filled its window"
    );
    let mut number = 0_u32;
    while let Some(part) = many.next().unwrap() {
        assert_eq!((part.len(), part[0]), (MOST_BYTES, number as u8));
        number += 1;
    }
    assert_eq!((number, many.answer::<u32>().unwrap()), (40, 40));
    let mut failing = call(&session, FAIL, 0);
    let error = failing.answer::<u32>().unwrap_err();
    assert_eq!((error.kind, error.context["path"].as_str()), (ErrorKind::StoreBusy, "x"));
    assert_eq!(error.context["place"], "ssh://atl");
    assert_eq!(call(&session, PANIC, 0).answer::<u32>().unwrap_err().kind, ErrorKind::Panic);
    let mut count = call(&session, COUNT, 0);
    (0..40).for_each(|_| count.send(&[0; MOST_BYTES]).unwrap());
    count.end_parts().unwrap();
    assert_eq!(count.answer::<u64>().unwrap(), 40 * MOST_BYTES as u64);
    let (welcome, program) = session.welcome().unwrap();
    assert_eq!((welcome.pool.as_str(), program.as_str()), ("atl", env!("CARGO_PKG_VERSION")));
    assert_eq!(session.calls(), 3, "what is held counts until it is dropped");
}

#[test]
fn a_helper_calls_its_caller_back_inside_a_call_however_much_crosses() {
    let session = joined(&Arc::default(), &hello());
    for parts in [1, 100] {
        let mut called = call(&session, CALL_BACK, parts);
        assert_eq!(answered_within(&mut called).unwrap(), [b"=told beside it"]);
        let bytes = u64::from(parts) * MOST_BYTES as u64 + 9;
        assert_eq!(called.answer::<u64>().unwrap(), bytes, "more than the window, of both sessions");
    }
    assert_eq!(call(&session, ECHO, 9).answer::<u32>().unwrap(), 9, "the outer session goes on");
    // A caller that answers nothing, and leaves.
    let cancel = CancellationToken::new();
    let mut called = session.call(CALL_BACK, &1_u32, &cancel).unwrap();
    cancel.cancel();
    assert_eq!(called.next().unwrap_err().kind, ErrorKind::Cancelled);
    drop(called);
    assert_eq!(call(&session, ECHO, 8).answer::<u32>().unwrap(), 8);
}

#[test]
fn a_call_that_is_dropped_or_cancelled_ends_at_the_helper_and_the_session_goes_on() {
    let helper = Arc::default();
    let session = joined(&helper, &hello());
    drop(call(&session, MANY, 1_000));
    eventually(|| helper.cancelled.load(Ordering::SeqCst) == 1);
    let cancel = CancellationToken::new();
    let mut waiting = session.call(WAIT, &0_u32, &cancel).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waiting.answer::<u32>().unwrap_err());
        cancel.cancel();
        let began = Instant::now();
        assert_eq!(waiting.join().unwrap().kind, ErrorKind::Cancelled);
        assert!(began.elapsed() < Duration::from_secs(5));
    });
    drop(waiting);
    eventually(|| helper.cancelled.load(Ordering::SeqCst) == 2);
    assert_eq!(call(&session, ECHO, 9).answer::<u32>().unwrap(), 9);
}

#[test]
fn a_helper_of_another_pool_refuses_and_says_so_to_every_call() {
    let session = joined(&Arc::default(), &Hello { pool: "nyc".to_owned(), ..hello() });
    for _ in 0..2 {
        let failed = session.call(ECHO, &1_u32, &CancellationToken::new());
        let error = failed.and_then(|mut call| call.answer::<u32>()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PeerRefused, "{error:?}");
    }
    assert!(!session.is_open());
}

#[test]
fn what_a_program_says_last_counts_also_where_it_is_read_after_its_end() {
    let late = "(sleep 0.03; echo 'Host key verification failed.' >&2) >/dev/null & exit 255";
    let route = Route::Command(["sh", "-c", late].map(str::to_owned).to_vec());
    let session = Session::open(&route, "ssh://atl-1/srv", &hello()).unwrap();
    let failed = session.call(ECHO, &1_u32, &CancellationToken::new());
    let error = failed.and_then(|mut call| call.answer::<u32>()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PeerRefused, "{error:?}");
}

#[test]
fn a_line_on_which_nothing_is_heard_ends_either_side() {
    let silence = Duration::from_millis(300);
    // Nobody reads or writes at the other ends.
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let session = Session::over(ours.try_clone().unwrap(), ours, "ssh://atl", &hello(), silence).unwrap();
    let error = call(&session, ECHO, 1).answer::<u32>().unwrap_err();
    assert_eq!(error.kind, ErrorKind::StoreUnavailable);
    assert!(error.message.contains("Nothing was heard"), "{error}");
    assert_eq!(session.given_up().unwrap().kind, ErrorKind::StoreUnavailable);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let (sender, is_over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        serve(Arc::new(Helper::default()), theirs.try_clone().unwrap(), theirs, silence, move || {
            sender.send(()).unwrap()
        })
    });
    is_over.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_session_that_nobody_uses_ends_and_one_that_is_used_does_not() {
    let unused_for = Duration::from_millis(300);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let service: Arc<dyn Answers> = Arc::new(Helper::default());
    std::thread::spawn(move || serve(service, theirs.try_clone().unwrap(), theirs, SILENCE, || ()));
    let ours = (Box::new(ours.try_clone().unwrap()), Box::new(ours));
    let session = Session::begin(ours.0, ours.1, None, "ssh://atl", &hello(), (SILENCE, unused_for)).unwrap();
    let waiting = call(&session, WAIT, 0);
    std::thread::sleep(unused_for * 3);
    assert!(session.is_open() && !session.was_unused());
    drop(waiting);
    eventually(|| session.was_unused());
    assert!(session.call(ECHO, &1_u32, &CancellationToken::new()).is_err());
}

#[test]
fn pings_keep_an_idle_session_and_a_long_call_alive() {
    let silence = Duration::from_millis(400);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let helper: Arc<Helper> = Arc::default();
    let service = Arc::clone(&helper) as Arc<dyn Answers>;
    std::thread::spawn(move || serve(service, theirs.try_clone().unwrap(), theirs, silence, || ()));
    let session = Session::over(ours.try_clone().unwrap(), ours, "ssh://atl", &hello(), silence).unwrap();
    let waiting = call(&session, WAIT, 0);
    std::thread::sleep(silence * 4);
    assert_eq!(call(&session, ECHO, 3).answer::<u32>().unwrap(), 3);
    assert_eq!(helper.cancelled.load(Ordering::SeqCst), 0);
    drop(waiting);
}

#[test]
fn a_cut_at_every_byte_ends_the_call_and_nothing_hangs() {
    // What a whole conversation is, as the helper sends it.
    let conversation = {
        let mut bytes = Greeting::own().line().into_bytes();
        let welcome = Helper::default().welcome(&hello()).unwrap();
        bytes.extend(frame::encode(Kind::Welcome, 0, &encode(&welcome).unwrap(), 1).unwrap());
        bytes.extend(frame::encode(Kind::Part, 1, &[1; 300], 1).unwrap());
        bytes.extend(frame::encode(Kind::Answer, 1, &encode(&7_u32).unwrap(), 1).unwrap());
        bytes
    };
    for at in 0..=conversation.len() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let session = Session::over(ours.try_clone().unwrap(), ours, "ssh://atl", &hello(), SILENCE).unwrap();
        let mut asked = call(&session, ECHO, 1);
        std::io::Write::write_all(&mut theirs, &conversation[..at]).unwrap();
        drop(theirs);
        let answer = asked.answer::<u32>();
        if at == conversation.len() {
            assert_eq!(answer.unwrap(), 7);
        } else {
            let kind = answer.unwrap_err().kind;
            assert_eq!(kind, ErrorKind::StoreUnavailable, "cut at {at}");
        }
    }
}

#[test]
fn whoever_sends_more_than_he_may_is_not_listened_to_any_more() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let session = Session::over(ours.try_clone().unwrap(), ours, "ssh://atl", &hello(), SILENCE).unwrap();
    let mut asked = call(&session, ECHO, 1);
    let part = frame::encode(Kind::Part, 1, &vec![0; MOST_BYTES], 1).unwrap();
    std::io::Write::write_all(&mut theirs, Greeting::own().line().as_bytes()).unwrap();
    for _ in 0..=WINDOW_BYTES / MOST_BYTES {
        if std::io::Write::write_all(&mut theirs, &part).is_err() {
            break;
        }
    }
    eventually(|| !session.is_open());
    assert_eq!(asked.answer::<u32>().unwrap_err().kind, ErrorKind::PeerIncompatible);
}
