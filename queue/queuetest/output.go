package queuetest

import (
	"fmt"
	"strings"

	"github.com/rexgate/rexgate/queue"
)

func outputScenarios() []scenario {
	return []scenario{
		{name: "streams and offsets", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("1 go", a.accepted(d))
			a.says("2", a.started(d))
			a.says("6", a.output(d, 3, queue.Stdout, "one "), a.output(d, 4, queue.Stderr, "two "), a.output(d, 5, queue.Stdout, "three"), a.output(d, 6, queue.Stderr, "\x00\xff"))
			a.says("6", a.output(d, 4, queue.Stderr, "two "), a.output(d, 6, queue.Stderr, "\x00\xff"))
			same(e, "both", string(e.read(job, "h", queue.Both)), "one two three\x00\xff")
			same(e, "stdout", string(e.read(job, "h", queue.Stdout)), "one three")
			same(e, "stderr", string(e.read(job, "h", queue.Stderr)), "two \x00\xff")
			same(e, "sums", e.execution(job, "h").Output, queue.OutputInfo{Stdout: 9, Stderr: 6})
			for _, c := range []struct {
				stream queue.Stream
				offset int64
				limit  int
				want   string // offset:stream:text of each chunk
			}{
				{queue.Both, 0, 100, "0:1:one |4:2:two |8:1:three|13:2:\x00\xff"},
				{queue.Both, 5, 100, "5:2:wo |8:1:three|13:2:\x00\xff"},
				{queue.Both, 8, 100, "8:1:three|13:2:\x00\xff"},
				{queue.Both, 14, 100, "14:2:\xff"},
				{queue.Both, 15, 100, ""},
				{queue.Both, 99, 100, ""},
				{queue.Both, 0, 1, "0:1:o"},
				{queue.Both, 0, 8, "0:1:one |4:2:two "},
				{queue.Both, 0, 10, "0:1:one |4:2:two "},
				{queue.Stdout, 2, 100, "2:1:e |4:1:three"},
				{queue.Stdout, 4, 2, "4:1:th"},
				{queue.Stderr, 3, 100, "3:2: |4:2:\x00\xff"},
				{queue.Stderr, 6, 100, ""},
			} {
				q := queue.OutputQuery{Job: job, Host: "h", Stream: c.stream, Offset: c.offset, Limit: c.limit}
				chunks, err := e.s.Output(e.ctx, q)
				e.ok(err, "Output %+v", q)
				var got []string
				for _, k := range chunks {
					got = append(got, fmt.Sprintf("%d:%d:%s", k.Offset, k.Stream, k.Data))
				}
				same(e, fmt.Sprintf("%+v", q), strings.Join(got, "|"), c.want)
			}
		}},
		{name: "time and sequence are the host's", run: func(e *env) {
			a, d, job := e.taken("h")
			v := a.output(d, 3, queue.Stdout, "x")
			v.At = v.At.Add(-1234567 * 1e6).Truncate(1e6)
			a.says("3 go", a.accepted(d), a.started(d), v)
			chunks, err := e.s.Output(e.ctx, queue.OutputQuery{Job: job, Host: "h", Limit: 1})
			e.ok(err, "Output")
			if len(chunks) != 1 || chunks[0].Seq != 3 || !chunks[0].At.Equal(v.At) {
				e.Errorf("chunks %+v, want event 3 at %v", chunks, v.At)
			}
		}},
		{name: "gaps", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("9 go", a.accepted(d), a.started(d), a.output(d, 3, queue.Stdout, "ab"), a.gap(d, 4, 8, 700), a.output(d, 9, queue.Stdout, "cd"))
			a.says("9", a.gap(d, 4, 8, 700))
			a.says("9", a.output(d, 6, queue.Stdout, "what the gap stands for"))
			chunks, err := e.s.Output(e.ctx, queue.OutputQuery{Job: job, Host: "h", Limit: 100})
			e.ok(err, "Output")
			var got []string
			for _, c := range chunks {
				got = append(got, fmt.Sprintf("%d@%d:%s-%d", c.Seq, c.Offset, c.Data, c.Gap))
			}
			same(e, "chunks", strings.Join(got, " "), "3@0:ab-0 4@2:-700 9@2:cd-0")
			same(e, "stdout", string(e.read(job, "h", queue.Stdout)), "abcd")
			same(e, "sums", e.execution(job, "h").Output, queue.OutputInfo{Stdout: 4, Gap: 700})
			f := a.finished(d, 10, queue.Succeeded)
			f.Dropped = 55
			a.says("10", f)
			same(e, "sums", e.execution(job, "h").Output, queue.OutputInfo{Stdout: 4, Gap: 700, Dropped: 55})
		}},
		{name: "much of it", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("2 go", a.accepted(d), a.started(d))
			var want strings.Builder
			seq := int64(2)
			for range 8 {
				var batch []queue.Event
				for range 16 {
					seq++
					text := strings.Repeat(fmt.Sprintf("%07d\n", seq), queue.MaxChunk/8)
					want.WriteString(text)
					batch = append(batch, a.output(d, seq, queue.Stdout, text))
				}
				a.says(fmt.Sprint(seq), batch...)
			}
			if got := e.read(job, "h", queue.Stdout); string(got) != want.String() {
				e.Errorf("%d bytes of output differ from the %d that were sent", len(got), want.Len())
			}
			q := queue.OutputQuery{Job: job, Host: "h", Offset: 777_777, Limit: 1000}
			chunks, err := e.s.Output(e.ctx, q)
			e.ok(err, "Output")
			if len(chunks) == 0 || chunks[0].Offset != q.Offset || !strings.HasPrefix(want.String()[q.Offset:], string(chunks[0].Data)) {
				e.Errorf("Output from the middle: %d chunks", len(chunks))
			}
		}},
		{name: "a host that doesn't hold the limit", run: func(e *env) {
			e.enroll("h")
			const limit = 100_000
			job := e.queued("h", func(s *queue.Spec) { s.OutputLimit = limit })
			a := e.agent("h")
			d := a.running()
			chunk, sent, seq := strings.Repeat("x", queue.MaxChunk), int64(0), int64(2)
			for sent < limit+4*queue.OutputSlack {
				var batch []queue.Event
				for range 8 {
					seq++
					sent += queue.MaxChunk
					batch = append(batch, a.output(d, seq, queue.Stream(1+seq%2), chunk))
				}
				a.says(fmt.Sprint(seq), batch...) // it isn't asked for it again
				a.says(fmt.Sprint(seq), batch...)
			}
			seq++
			a.says(fmt.Sprint(seq), a.output(d, seq, queue.Stdout, "fits, but others before it didn't"))
			a.says(fmt.Sprint(seq+2), a.gap(d, seq+1, seq+1, 1<<60), a.gap(d, seq+2, seq+2, 0))
			seq += 2
			stored := e.execution(job, "h").Output
			got := int64(len(e.read(job, "h", queue.Both)))
			same(e, "stored", got, stored.Stdout+stored.Stderr)
			if bound := int64(limit + queue.OutputSlack); got > bound || got < limit || stored.Gap != 0 {
				e.Errorf("%d bytes of output are stored, and a gap of %d; the limit is %d", got, stored.Gap, limit)
			}
			same(e, "stored and dropped", stored.Dropped, queue.MaxCount)
			f := a.finished(d, seq+1, queue.Succeeded)
			f.Dropped = 1 << 62
			a.says(fmt.Sprint(seq+1), f)
			same(e, "dropped", e.want(job, "h", queue.Succeeded).Output.Dropped, queue.MaxCount)
		}},
		{name: "a host that holds the limit", run: func(e *env) {
			e.enroll("h")
			const limit = 10 * queue.MaxChunk
			job := e.queued("h", func(s *queue.Spec) { s.OutputLimit = limit })
			a := e.agent("h")
			d := a.running()
			var batch []queue.Event
			for i := range 10 {
				batch = append(batch, a.output(d, int64(3+i), queue.Stdout, strings.Repeat("x", queue.MaxChunk)))
			}
			f := a.finished(d, 13, queue.Succeeded)
			f.Dropped = 77
			a.says("13", append(batch, f)...)
			same(e, "output", e.execution(job, "h").Output, queue.OutputInfo{Stdout: limit, Dropped: 77})
		}},
		{name: "nothing yet", run: func(e *env) {
			e.enroll("h")
			job := e.submit([]queue.HostID{"h"})
			same(e, "of a planned one", len(e.read(job, "h", queue.Both)), 0)
			e.expand(job)
			same(e, "of a queued one", len(e.read(job, "h", queue.Stdout)), 0)
		}},
	}
}
