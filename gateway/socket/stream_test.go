package socket

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// recorded is a connection that keeps what is written, and the deadlines.
type recorded struct {
	net.Conn
	in        io.Reader
	writes    []string
	deadlines []time.Time
	err       error
}

func (r *recorded) Read(p []byte) (int, error) { return r.in.Read(p) }

func (r *recorded) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	r.writes = append(r.writes, string(p))
	return len(p), nil
}

func (r *recorded) SetWriteDeadline(t time.Time) error {
	r.deadlines = append(r.deadlines, t)
	return nil
}

func head(size int) []byte {
	switch {
	case size < 126:
		return []byte{0x81, byte(size)}
	case size < 1<<16:
		return []byte{0x81, 126, byte(size >> 8), byte(size)}
	}
	return []byte{0x81, 127, 0, 0, 0, 0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}
}

// TestFramesLeaveWhole writes frames of all sizes as websocket.Conn does.
func TestFramesLeaveWhole(t *testing.T) {
	for _, size := range []int{0, 1, 13, 14, 15, 16, 17, 125, 126, 127, 1000, maxGather - 4, maxGather - 3, 65535, 65536, 200_000} {
		r := &recorded{}
		s := &stream{Conn: r, writeTimeout: time.Second}
		bw := bufio.NewWriterSize(s, writeBuffer)
		payload := strings.Repeat("x", size)
		want := ""
		for range 3 { // one frame after another
			for _, b := range head(size) {
				bw.WriteByte(b)
			}
			if n, err := bw.Write([]byte(payload)); n != size || err != nil {
				t.Fatalf("%d bytes: wrote %d, %v", size, n, err)
			}
			if err := bw.Flush(); err != nil {
				t.Fatal(err)
			}
			want += string(head(size)) + payload
		}
		if got := strings.Join(r.writes, ""); got != want {
			t.Errorf("%d bytes: what left isn't what was written", size)
		}
		most := 3
		if len(head(size))+size > maxGather {
			most = 6
		}
		if len(r.writes) > most {
			t.Errorf("three frames of %d bytes left in %d parts", size, len(r.writes))
		}
		if s.frame != nil || s.left != 0 {
			t.Errorf("%d bytes: something of it stayed: %+v", size, s)
		}
	}
}

// TestWriteDeadlineIsAhead checks that a write always has its time, and that the deadline
// isn't moved each time.
func TestWriteDeadlineIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorded{}
		s := &stream{Conn: r, writeTimeout: 20 * time.Second}
		for range 100 {
			if _, err := s.Write([]byte{0x81, 0}); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(r.deadlines[len(r.deadlines)-1]); left < 20*time.Second || left > 30*time.Second {
				t.Fatalf("a write has %v", left)
			}
			time.Sleep(time.Second)
		}
		if len(r.deadlines) > 10 {
			t.Errorf("the deadline was moved %d times in 100 s", len(r.deadlines))
		}
		time.Sleep(time.Hour)
		if s.Write([]byte{0x81, 0}); time.Until(r.deadlines[len(r.deadlines)-1]) < 20*time.Second {
			t.Error("after a quiet hour, a write has no time")
		}
	})
}

func TestWriteErrorIsPassedOn(t *testing.T) {
	r := &recorded{err: io.ErrClosedPipe}
	s := &stream{Conn: r, writeTimeout: time.Second}
	bw := bufio.NewWriterSize(s, writeBuffer)
	bw.Write(head(100))
	_, werr := bw.Write(make([]byte, 100))
	if err := bw.Flush(); err != io.ErrClosedPipe && werr != io.ErrClosedPipe {
		t.Errorf("got %v, %v", werr, err)
	}
}

// TestEarlyBytesComeFirst has a client that doesn't wait for the answer to its upgrade.
func TestEarlyBytesComeFirst(t *testing.T) {
	early := bytes.Repeat([]byte("early "), 100)
	s := &stream{Conn: &recorded{in: strings.NewReader("late")}, early: early}
	got, err := io.ReadAll(bufio.NewReaderSize(s, readBuffer))
	if err != nil || string(got) != string(early)+"late" {
		t.Errorf("%q, %v", got, err)
	}
	if s.early != nil {
		t.Error("they are kept")
	}
}
