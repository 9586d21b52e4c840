package live

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

var jobA, jobB = queue.NewJobID(time.UnixMilli(1)), queue.NewJobID(time.UnixMilli(2))

func TestTopics(t *testing.T) {
	for text, want := range map[string]Topic{
		"jobs":                               {},
		"job:" + string(jobA):                {Job: jobA},
		"execution:" + string(jobA) + ".a.b": {Job: jobA, Host: "a.b"},
	} {
		got, err := ParseTopic(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "job", "jobs:", "job:", "job:x", "execution:", "execution:" + string(jobA), "execution:" + string(jobA) + ".",
		"execution:" + string(jobA) + "..", "execution:" + string(jobA) + ".a/b", "hosts", " jobs", "job:" + strings.ToUpper(string(jobA))} {
		if got, err := ParseTopic(text); queue.CodeOf(err) != queue.Invalid {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
}

func TestCursors(t *testing.T) {
	longest := Topic{Job: jobA, Host: queue.HostID(strings.Repeat("h", 128))}
	var most Cursor
	for i := range api.MaxTopics {
		longest.Host = longest.Host[:127] + queue.HostID(rune('a'+i))
		most = append(most, Place{longest, Position{Seq: maxNumber, Offset: maxNumber, Last: maxNumber}})
	}
	for _, c := range []Cursor{
		nil,
		{{Topic{}, Position{Epoch: newEpoch(), Seq: 1}}},
		{{Topic{Job: jobA}, Position{Epoch: newEpoch(), Seq: maxNumber}}, {Topic{Job: jobB, Host: "a.b-c_d"}, Position{Seq: 3, Offset: 1 << 40, Last: 0}}, {Topic{}, Position{Epoch: "x", Seq: 1}}},
		most,
	} {
		text := c.String()
		if got := ParseCursor(text); !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v, want %+v", text, got, c)
		}
		if len(text) > MaxCursor || strings.ContainsAny(text, " &#+%\"\n") {
			t.Errorf("%d bytes: %s", len(text), text)
		}
	}
	for text, want := range map[string]int{
		"":                                       0,
		"jobs":                                   0,
		"jobs~":                                  0,
		"jobs~x":                                 0,
		"jobs~x.-1":                              0,
		"jobs~x.1.2":                             0,
		"jobs~x.01":                              0,
		"jobs~x.+1":                              0,
		"jobs~X.1":                               0,
		"jobs~.1":                                0,
		"jobs~x.9007199254740992":                0,
		"jobs~x.0":                               0,
		"jobs~x.1,":                              1,
		"jobs~x.1,jobs~y.2":                      1,
		"future:thing~7,jobs~x.1":                1,
		"execution:" + string(jobA) + ".a~1.2":   0,
		"execution:" + string(jobA) + ".a~1.2.3": 1,
		"execution:" + string(jobA) + ".a~1.2.3.4": 0,
		strings.Repeat("jobs~x.1,", 200):           0,
	} {
		if got := ParseCursor(text); len(got) != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("jobs~abc.1,execution:" + string(jobA) + ".web-1~1.2.3")
	f.Add("job:" + string(jobA) + "~x.1")
	f.Add(",~.,~~..")
	f.Fuzz(func(t *testing.T, text string) {
		c := ParseCursor(text)
		for _, p := range c {
			if p.Seq < 1 || p.Seq > maxNumber || p.Offset < 0 || p.Last < 0 || (p.Epoch == "") != (p.Topic.Host != "") {
				t.Fatalf("%q: %+v", text, p)
			}
		}
		again := c.String()
		if !reflect.DeepEqual(ParseCursor(again), c) || len(again) > len(text) {
			t.Fatalf("%q is read as %+v, which is written as %q", text, c, again)
		}
	})
}
