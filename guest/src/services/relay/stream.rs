//! Streams: each event of the upstream's is read, and passed on in the form
//! that the client has asked for; and its end is told from its breaking off.

use serde::{Deserialize, Serialize};

use super::completion::{Completion, ToolCalls};
use super::fault::Fault;
use super::fields::quoted;
use super::quota::{estimate, settle};
use super::secret;
use super::sse::{Item, Parser, State};
use super::state::{Phase, Relay};
use crate::clock;
use crate::code::Code;
use crate::contract::exports::syncline::backend::relay::{Ending, Passed};
use crate::imports::{Imports, Level};
use crate::protocol::strict;
use crate::services::answer::Form;
use crate::services::settings::Llm;

/// All of a stream: more than a model says in the time that a relay has.
pub const STREAM_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A stream between two pieces.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stream {
    parser: State,
    /// What was read, in bytes.
    bytes: u64,
    /// What the model has said, in bytes.
    said_bytes: u64,
    /// What it cost, as soon as the upstream says.
    tokens: Option<u64>,
    /// Why nothing follows, as soon as nothing does.
    finish_reason: Option<String>,
    /// Tool calls that come together, for who is told of them at the end.
    tool_calls: ToolCalls,
}

/// What a relay whose context is not ours becomes.
#[must_use]
pub fn nothing_more() -> Passed {
    Passed {
        context: Vec::new(),
        output: Vec::new(),
        is_last: true,
    }
}

/// `relay.piece`, of a relay that streams.
pub fn piece(
    imports: &mut impl Imports,
    llm: &Llm,
    mut relay: Relay,
    behind: &[u8],
    mut bytes: &[u8],
) -> Passed {
    let Some(mut run) = Run::resume(llm, &mut relay, behind) else {
        return nothing_more();
    };
    let is_late = clock::milliseconds(imports) >= relay.until_ms;
    let mut over = is_late.then(|| {
        Err(Fault::new(
            Code::UpstreamTimeout,
            "The answer has taken longer than any may. Ask for less.",
        ))
    });
    if over.is_none() {
        // As many bytes as there may be are read, wherever pieces end.
        let left = STREAM_BYTES_MAX.saturating_sub(run.stream.bytes);
        let allowed = usize::try_from(left).unwrap_or(usize::MAX);
        let is_beyond = bytes.len() > allowed;
        bytes = bytes.get(..allowed).unwrap_or(bytes);
        run.stream.bytes = run
            .stream
            .bytes
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        over = run.read(&mut bytes);
        if over.is_none() && is_beyond {
            over = Some(Err(Fault::upstream(
                "The upstream's answer is larger than any may be. Ask for less.",
            )));
        }
    }
    match over {
        None => {
            let Run {
                parser,
                mut stream,
                output,
                ..
            } = run;
            stream.parser = parser.state();
            relay.phase = Phase::Streaming(stream);
            Passed {
                context: relay.pack(&parser.behind()),
                output,
                is_last: false,
            }
        }
        Some(ending) => {
            let output = run.close(imports, &mut relay, ending);
            Passed {
                context: relay.pack(&[]),
                output,
                is_last: true,
            }
        }
    }
}

/// `relay.end`, of a relay that streams.
pub fn end(
    imports: &mut impl Imports,
    llm: &Llm,
    mut relay: Relay,
    behind: &[u8],
    ending: Ending,
) -> Vec<u8> {
    let Some(mut run) = Run::resume(llm, &mut relay, behind) else {
        return Vec::new();
    };
    if ending == Ending::Gone {
        let tokens = run.tokens(&relay);
        settle(imports, Some(llm), &mut relay, tokens);
        return Vec::new();
    }
    let mut over = match run.parser.finish() {
        // Half an event is no junk: it was not ended.
        Some(Item::Data(data)) if is_whole(&data) => run.event(&data),
        _ => None,
    };
    if over.is_none() && run.stream.finish_reason.is_some() {
        // Some servers do not say `[DONE]`.
        over = Some(Ok(()));
    }
    let over = over.unwrap_or_else(|| {
        Err(match ending {
            Ending::Stalled => Fault::new(
                Code::UpstreamTimeout,
                "The upstream has fallen silent in the middle of its answer. Ask again.",
            ),
            Ending::Ended | Ending::Broken | Ending::Gone => {
                Fault::upstream("The upstream broke off in the middle of its answer. Ask again.")
            }
        })
    });
    run.close(imports, &mut relay, over)
}

/// Whether it can be read as an event.
fn is_whole(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]" || strict::object::<Completion<'_>>(data).is_ok()
}

/// One step of a stream.
struct Run<'a> {
    parser: Parser,
    llm: &'a Llm,
    form: Form,
    wants_usage: bool,
    stream: Stream,
    output: Vec<u8>,
}

/// How it is over, if it is: complete, or not.
type Over = Option<Result<(), Fault>>;

impl<'a> Run<'a> {
    /// The next step of a relay that streams; `None` if it does not, or is
    /// over.
    fn resume(llm: &'a Llm, relay: &mut Relay, behind: &[u8]) -> Option<Self> {
        let phase = std::mem::replace(&mut relay.phase, Phase::Collecting);
        let Phase::Streaming(stream) = phase else {
            return None;
        };
        relay.place?;
        Some(Self {
            parser: Parser::resume(stream.parser.clone(), behind),
            llm,
            form: relay.ticket.form,
            wants_usage: relay.wants_usage,
            stream,
            output: Vec::new(),
        })
    }

    fn read(&mut self, bytes: &mut &[u8]) -> Over {
        while let Some(item) = self.parser.next(bytes) {
            let over = match item {
                Item::Data(data) => self.event(&data),
                Item::Comment => {
                    self.output.extend_from_slice(b":\n\n");
                    None
                }
                Item::TooLarge => Some(Err(Fault::upstream(
                    "A part of the upstream's answer is larger than any may be.",
                ))),
            };
            if over.is_some() {
                return over;
            }
        }
        None
    }

    fn event(&mut self, data: &[u8]) -> Over {
        if data.trim_ascii() == b"[DONE]" {
            return Some(Ok(()));
        }
        self.chunk(data).err().map(Err)
    }

    /// A chunk of the answer.
    fn chunk(&mut self, data: &[u8]) -> Result<(), Fault> {
        let junk = || Fault::upstream("The upstream's answer makes no sense. Ask again.");
        let text = std::str::from_utf8(data).map_err(|_| junk())?;
        let chunk: Completion<'_> = strict::object(data).map_err(|_| junk())?;
        if chunk.error.is_some() {
            let words = chunk.error_words().unwrap_or_default();
            return Err(Fault::upstream(format!(
                "The upstream failed in the middle of its answer. It says: {}",
                secret::words(self.llm, &words)
            )));
        }
        let choices = chunk.choices.as_ref().ok_or_else(junk)?;
        let tokens = chunk.tokens();
        if tokens.is_some() {
            self.stream.tokens = tokens;
        }
        let choice = choices.0.first().map(|choice| &choice.0);
        if let Some(reason) = choice.and_then(|choice| choice.finish_reason()) {
            self.stream.finish_reason = Some(reason);
        }
        let delta = choice.and_then(|choice| choice.delta.as_ref());
        if let Some(delta) = delta {
            let said = delta.0.bytes();
            self.stream.said_bytes = self.stream.said_bytes.saturating_add(said);
        }
        match self.form {
            Form::OpenAi => {
                // Usage figures that the server asked for, and not the client.
                let is_ours = choices.0.is_empty() && tokens.is_some() && !self.wants_usage;
                if !is_ours {
                    let text = secret::hidden(self.llm, text);
                    // In JSON, line ends stand between tokens only.
                    let text = text.replace(['\n', '\r'], " ");
                    self.write(&["data: ", &text, "\n\n"]);
                }
            }
            Form::Api => {
                let Some(delta) = delta else {
                    return Ok(());
                };
                let said = delta.0.text().ok_or_else(junk)?;
                for call in delta.0.tool_calls().ok_or_else(junk)? {
                    if !self.stream.tool_calls.add(call) {
                        return Err(Fault::upstream(
                            "The model calls more tools than it may. Ask again.",
                        ));
                    }
                }
                if !said.is_empty() {
                    let said = quoted(&secret::hidden(self.llm, &said));
                    self.write(&["data: {\"delta\":", &said, "}\n\n"]);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, texts: &[&str]) {
        for text in texts {
            self.output.extend_from_slice(text.as_bytes());
        }
    }

    /// The last that the client is told, and the account.
    fn close(
        mut self,
        imports: &mut impl Imports,
        relay: &mut Relay,
        ending: Result<(), Fault>,
    ) -> Vec<u8> {
        let ending = ending.and_then(|()| match self.form {
            Form::OpenAi => {
                self.write(&["data: [DONE]\n\n"]);
                Ok(())
            }
            Form::Api => {
                let calls = self.stream.tool_calls.json().ok_or_else(|| {
                    Fault::upstream("The model calls a tool with arguments that make no sense.")
                })?;
                let calls = secret::hidden(self.llm, &calls).into_owned();
                let reason = self.stream.finish_reason.as_deref().unwrap_or("stop");
                let reason = quoted(reason);
                self.write(&[
                    "event: done\ndata: {\"toolCalls\":",
                    &calls,
                    ",\"finishReason\":",
                    &reason,
                    "}\n\n",
                ]);
                Ok(())
            }
        });
        if let Err(fault) = ending {
            let code = fault.code;
            imports.log(
                Level::Warn,
                &format!("a stream of the LLM proxy ends: {code}"),
            );
            let error = self.form.error(fault.status, code.as_str(), &fault.message);
            match self.form {
                Form::OpenAi => self.write(&["data: ", &error, "\n\n"]),
                Form::Api => self.write(&["event: error\ndata: ", &error, "\n\n"]),
            }
        }
        let tokens = self.tokens(relay);
        settle(imports, Some(self.llm), relay, tokens);
        self.output
    }

    /// What it cost: as the upstream says, or by its size.
    fn tokens(&self, relay: &Relay) -> u64 {
        self.stream
            .tokens
            .unwrap_or_else(|| estimate(relay.request_bytes.saturating_add(self.stream.said_bytes)))
    }
}
