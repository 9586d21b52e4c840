package wire

import (
	"strings"
	"testing"
)

// frames are what most of the traffic consists of.
func frames() map[string][]Message {
	const x = "01234567890123456789abcdef.host-000001.example.net"
	const at = 1763800000000
	return map[string][]Message{
		"ack": {&Ack{Execution: x, Stored: 1, Verdict: VerdictGo}},
		"job": {&Job{N: 1, Execution: x, Token: "7FYQ2Z3XJ4K5M6N7P8R9S2T3U4.1", DeliverUntil: at + 86_400_000, Time: at, Spec: Spec{
			Script: "echo hello; sleep 10; echo bye\n", ScriptSize: 31, ScriptSHA256: strings.Repeat("0123456789abcdef", 4),
			Lane: "default", RunTimeout: 3_600_000, Grace: 10_000, OutputLimit: 4 << 20,
		}}},
		"hello": {&Hello{AgentVersion: "1.0.0", BootID: "6d1e8f7e-5d3f-4a3a-9f1c-0c1d8d1e9a77", Generation: "0f9c2b7ae1d84c55", Nonce: "b7ae1d84c55f9c20",
			Position: 7, Slots: map[string]int{"default": 1, "urgent": 1}, Facts: map[string]string{"os": "linux", "arch": "amd64", "hostname": "host-000001"}}},
		"welcome":  {&Welcome{Session: at * 1000, N: 7, Time: at, Ping: 25_000, Dead: 60_000, Credit: IdleCredit, MaxFrame: MaxFrame}},
		"accepted": {&Accepted{Execution: x, Seq: 1, At: at, Token: "7FYQ2Z3XJ4K5M6N7P8R9S2T3U4.1", Position: 8}},
		"instant": {
			&Started{Execution: x, Seq: 2, At: at}, &Output{Execution: x, Seq: 3, At: at, Stream: Stdout, Text: "hello\n"},
			&Finished{Execution: x, Seq: 4, At: at, Outcome: Succeeded},
		},
		"output-4KiB": {&Output{Execution: x, Seq: 3, At: at, Stream: Stdout, Text: strings.Repeat("a line of output, 32 bytes long\n", 128)}},
	}
}

var frameNames = []string{"ack", "welcome", "job", "hello", "accepted", "instant", "output-4KiB"}

// BenchmarkEncode writes the frames.
func BenchmarkEncode(b *testing.B) {
	for _, name := range frameNames {
		msgs := frames()[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				frame, err := Encode(msgs...)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(frame)))
			}
		})
	}
}

// BenchmarkPack writes them as the hub does.
func BenchmarkPack(b *testing.B) {
	for _, name := range frameNames {
		msgs := frames()[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Pack(64<<10, msgs...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode reads the frames.
func BenchmarkDecode(b *testing.B) {
	for _, name := range frameNames {
		frame, err := Encode(frames()[name]...)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
