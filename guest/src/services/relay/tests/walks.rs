//! Relays with upstreams that do whatever a seed says: each gives back what it
//! holds, once, and counts at most once.

use super::*;

/// One relay, to its end.
fn walk(proxy: &mut Proxy, random: &mut fastrand::Rng) {
    let is_stream = random.bool();
    let body = match (proxy.path, is_stream) {
        (OPENAI, true) => ASK_STREAM,
        (OPENAI, false) => ASK,
        (_, true) => CHAT_STREAM,
        (_, false) => CHAT,
    };
    let mut context = proxy.called(body).context;
    loop {
        // Time passes.
        proxy.host.now += std::time::Duration::from_millis(random.u64(..200_000));
        if random.u32(..12) == 0 {
            proxy.end(&context, Ending::Gone);
            return;
        }
        let wait = if random.u32(..3) == 0 {
            let failures = [Failure::Unreachable, Failure::Silent, Failure::Broken];
            match proxy.failed(&context, failures[random.usize(..3)]) {
                Step::Wait(wait) => wait,
                Step::Respond(_) => return,
                Step::Call(_) => panic!("called without a pause"),
            }
        } else {
            let status = [200, 200, 200, 302, 400, 401, 404, 429, 500, 503][random.usize(..10)];
            let kind = ["text/event-stream", "application/json"][random.usize(..2)];
            let after = ["0", "1", "90", "x"][random.usize(..4)];
            let headers = [("content-type", kind), ("retry-after", after)];
            match proxy.head(&context, status, &headers) {
                Reading::Wait(wait) => wait,
                Reading::Respond(_) => return,
                Reading::Collect(collecting) => {
                    let bodies = [
                        None,
                        Some(&b"{}"[..]),
                        Some(b"{\"choices\":[{\"message\":{\"content\":\"a\"}}]}"),
                        Some(b"{\"error\":{\"message\":\"no\"}}"),
                    ];
                    match random.usize(..5) {
                        4 => {
                            proxy.end(&collecting.context, Ending::Gone);
                        }
                        body => {
                            proxy.answer(&collecting.context, bodies[body]);
                        }
                    }
                    return;
                }
                Reading::Stream(streaming) => return flow(proxy, random, streaming.context),
            }
        };
        if random.u32(..8) == 0 {
            proxy.end(&wait.context, Ending::Gone);
            return;
        }
        match proxy.again(&wait.context) {
            Step::Call(call) => context = call.context,
            Step::Respond(_) => return,
            Step::Wait(_) => panic!("two pauses"),
        }
    }
}

/// A stream, to its end.
fn flow(proxy: &mut Proxy, random: &mut fastrand::Rng, mut context: Vec<u8>) {
    let pieces = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n",
        "data: {\"choi",
        ": c\n",
        "data: [DONE]\n\n",
        "\n",
        "data: junk\n\n",
    ];
    loop {
        let passed = match random.u32(..10) {
            0 => {
                let endings = [Ending::Ended, Ending::Broken, Ending::Stalled, Ending::Gone];
                proxy.end(&context, endings[random.usize(..4)]);
                return;
            }
            _ => proxy.piece(&context, pieces[random.usize(..pieces.len())].as_bytes()),
        };
        if passed.is_last {
            return;
        }
        context = passed.context;
    }
}

#[test]
fn every_path_gives_back_once() {
    for seed in 0..2_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut proxy = Proxy::new([OPENAI, API][random.usize(..2)]);
        walk(&mut proxy, &mut random);
        assert_eq!(proxy.host.held(), 0, "seed {seed}");
        assert!(proxy.host.added().len() <= 1, "seed {seed}");
    }
}
