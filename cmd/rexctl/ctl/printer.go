package ctl

import (
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Terminal is where texts go: a stream, and what is known of it.
type Terminal struct {
	W io.Writer
	// TTY: a person looks at it; what hosts say is made safe, and progress is redrawn in place.
	TTY bool
	// Width gives the columns of a TTY; nil = 80.
	Width func() int
}

// FileTerminal is a file as a Terminal, a TTY if it is one.
func FileTerminal(f *os.File) Terminal {
	fd := int(f.Fd())
	return Terminal{W: f, TTY: term.IsTerminal(fd), Width: func() int {
		w, _, err := term.GetSize(fd)
		if err != nil {
			return 0
		}
		return w
	}}
}

func (t Terminal) columns() int {
	if t.Width != nil {
		if w := t.Width(); w > 0 {
			return w
		}
	}
	return 80
}

// maxPiece bounds one piece of output on its way to the printer, in bytes; queuedPieces bounds how
// many wait. A slow terminal thereby slows the reading down.
const (
	maxPiece     = 64 << 10
	queuedPieces = 32
)

type pieceKind int

const (
	toStdout pieceKind = iota
	toStderr           // of a host
	toNotes            // a message of our own, on stderr
	toProgress
)

type piece struct {
	kind pieceKind
	data []byte
}

// printer writes everything from one goroutine, so that lines stay whole and the progress
// line is out of their way.
type printer struct {
	out, err Terminal
	pieces   chan piece
	done     chan struct{}
	fail     func(error) // called once, with the first error of writing

	// The rest belongs to the goroutine.
	failOnce sync.Once
	line     string // progress to show
	drawn    int    // columns of it on the terminal
	midLine  bool   // the terminal's cursor stands behind output that didn't end its line
}

func newPrinter(out, err Terminal, fail func(error)) *printer {
	p := &printer{out: out, err: err, fail: fail, pieces: make(chan piece, queuedPieces), done: make(chan struct{})}
	go p.run()
	return p
}

// send queues a piece; it blocks while the terminal is slow. It must not be called after close.
func (p *printer) send(pc piece) { p.pieces <- pc }

func (p *printer) note(text string) { p.send(piece{toNotes, []byte(text + "\n")}) }

// close writes what waits and takes the progress line away.
func (p *printer) close() {
	close(p.pieces)
	<-p.done
}

func (p *printer) run() {
	defer close(p.done)
	for pc := range p.pieces {
		p.handle(pc)
		for more := true; more; {
			select {
			case next, ok := <-p.pieces:
				if more = ok; ok {
					p.handle(next)
				}
			default:
				more = false
			}
		}
		p.draw()
	}
	p.erase()
	if p.midLine && p.err.TTY {
		p.write(p.err.W, []byte("\n"))
	}
}

func (p *printer) handle(pc piece) {
	if pc.kind == toProgress {
		p.line = string(pc.data)
		return
	}
	p.erase()
	to := p.err
	if pc.kind == toStdout {
		to = p.out
	}
	if pc.kind == toNotes && p.midLine && to.TTY {
		p.write(to.W, []byte("\n"))
		p.midLine = false
	}
	p.write(to.W, pc.data)
	if to.TTY && len(pc.data) > 0 {
		p.midLine = pc.data[len(pc.data)-1] != '\n'
	}
}

// draw needs no escape sequences, so that it works on any terminal.
func (p *printer) draw() {
	if !p.err.TTY || p.midLine {
		return
	}
	if p.line == "" {
		p.erase()
		return
	}
	pad := max(0, p.drawn-len(p.line))
	p.write(p.err.W, []byte("\r"+p.line+strings.Repeat(" ", pad)+strings.Repeat("\b", pad)))
	p.drawn = len(p.line)
}

func (p *printer) erase() {
	if p.drawn > 0 {
		p.write(p.err.W, []byte("\r"+strings.Repeat(" ", p.drawn)+"\r"))
		p.drawn = 0
	}
}

func (p *printer) write(w io.Writer, b []byte) {
	if _, err := w.Write(b); err != nil {
		p.failOnce.Do(func() { p.fail(err) })
	}
}
