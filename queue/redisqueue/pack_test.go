package redisqueue

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// What Go packs, Lua unpacks and packs again, and Go reads: the same.
func TestPackThroughLua(t *testing.T) {
	rdb := redistest.Start(t).Client()
	defer rdb.Close()
	var p packer
	long := strings.Repeat("x", 70_000)
	p.array(14)
	ints := []int64{0, 1, 127, 128, 255, 256, 65_536, 1 << 32, 1_763_806_360_000_000, 1<<53 - 1, -1, -33, -70_000}
	p.array(len(ints))
	for _, v := range ints {
		p.int(v)
	}
	texts := []string{"", "a", strings.Repeat("b", 31), strings.Repeat("c", 32), strings.Repeat("d", 300), long, "\x00\xff\n", "ä", "1", "", "", ""}
	for _, s := range texts {
		p.str(s)
	}
	p.strMap(map[string]string{"k": "v", "long": long})
	script := "return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))"
	back, err := rdb.Eval(context.Background(), script, nil, p.String()).Text()
	if err != nil {
		t.Fatal(err)
	}
	r, err := unpackRow(back)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range ints {
		if got := r.row(1).int(i + 1); got != v {
			t.Errorf("%d came back as %d", v, got)
		}
	}
	for i, s := range texts {
		if got := r.str(i + 2); got != s {
			t.Errorf("text of %d bytes came back as one of %d", len(s), len(got))
		}
	}
	if m := r.strMap(14); !reflect.DeepEqual(m, map[string]string{"k": "v", "long": long}) {
		t.Errorf("map came back with %d keys", len(m))
	}
}

// Whatever is stored, reading it ends, with a value or an error.
func FuzzUnpack(f *testing.F) {
	var p packer
	p.array(3).int(1 << 40).str("text").strMap(map[string]string{"a": "b"})
	f.Add(p.String())
	f.Add("\xdd\xff\xff\xff\xff")
	f.Add("\x93\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xc3\xc0")
	f.Add(strings.Repeat("\x91", 100))
	f.Fuzz(func(t *testing.T, s string) {
		r, err := unpackRow(s)
		if err == nil && len(r) > len(s) {
			t.Errorf("%d fields of %d bytes", len(r), len(s))
		}
	})
}
