package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
)

// program starts a proxy's program, which listens on port, in a directory of its own
// that its unprivileged processes may use too.
func program(t *testing.T, dir, port string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var out syncBuffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill() // squid takes its time over anything else; helpers end with their input
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", argv[0], out.String())
		}
	})
	clienttest.Until(t, argv[0]+" listens", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", argv[0], err, out.String())
		default:
		}
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// squid starts Debian's squid with its usual rules; only it knows where gateway.test is. It allows
// CONNECT to port 443 and to the ports given. With a password, user u must say it.
func squid(t *testing.T, password string, connectTo ...string) (addr string) {
	t.Helper()
	bin := clienttest.Program(t, "/usr/sbin/squid")
	dir, port := clienttest.Dir(t, 0o777), clienttest.FreePort(t)
	write(t, filepath.Join(dir, "hosts"), "127.0.0.1 gateway.test\n")
	auth, allow := "", "localhost"
	if password != "" {
		helper := clienttest.Program(t, "/usr/lib/squid/basic_ncsa_auth", "/usr/lib64/squid/basic_ncsa_auth")
		hash, err := exec.Command(clienttest.Program(t, "/usr/bin/openssl", "/bin/openssl"), "passwd", "-apr1", password).Output()
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "users"), "u:"+string(hash))
		auth = fmt.Sprintf("auth_param basic program %s %s/users\nacl known proxy_auth REQUIRED\n", helper, dir)
		allow = "known"
	}
	write(t, filepath.Join(dir, "squid.conf"), fmt.Sprintf(`
http_port 127.0.0.1:%s
hosts_file %s/hosts
pid_filename %s/pid
access_log none
cache_log %s/cache.log
coredump_dir %s
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
%sacl SSL_ports port 443 %s
acl Safe_ports port 80 443 1025-65535
acl CONNECT method CONNECT
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access allow %s
http_access deny all
`, port, dir, dir, dir, dir, auth, strings.Join(connectTo, " "), allow))
	program(t, dir, port, bin, "-N", "-f", filepath.Join(dir, "squid.conf"))
	return "127.0.0.1:" + port
}

// real is a link to a gate over real sockets, through real programs.
type real struct {
	t      *testing.T
	gate   *gate
	agent  *agent
	link   *Link
	status chan Status
}

// link starts a link; it ends with the test.
func link(t *testing.T, g *gate, url string, change func(*Config)) *real {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	g.key = pub
	r := &real{t: t, gate: g, agent: newAgent(t), status: make(chan Status, 1000)}
	var logs syncBuffer
	cfg := Config{
		Gateways: []string{url}, Identity: NewIdentity(g.host, key),
		OnStatus: func(s Status) { r.status <- s },
		Log:      slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	if r.link, err = NewLink(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.link.Run(ctx, r.agent) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", logs.String())
		}
	})
	return r
}

// until waits for a status.
func (r *real) until(what string, is func(Status) bool) Status {
	r.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case s := <-r.status:
			if is(s) {
				return s
			}
		case <-limit:
			r.t.Fatalf("waited in vain for %s: %+v", what, r.link.Status())
		}
	}
}

// works runs a job over a transport, and tells how many attempts failed before its session.
func (r *real) works(tr Transport) (failed int) {
	r.t.Helper()
	var last time.Time
	r.until("a session over "+string(tr), func(s Status) bool {
		if s.Up && s.Transport != tr {
			r.t.Fatalf("up over %s", s.Transport)
		}
		if !s.LastErrorAt.Equal(last) {
			last = s.LastErrorAt
			failed++
		}
		return s.Up
	})
	r.gate.submit(jobA)
	r.gate.waitFinished(jobA)
	return failed
}

func TestSquid(t *testing.T) {
	t.Run("plain, CONNECT allowed", func(t *testing.T) {
		g := newGate(t)
		port := serve(t, g, nil)
		proxy := squid(t, "", port)
		for _, mode := range []Mode{ModeAuto, ModePoll} {
			t.Run(string(mode), func(t *testing.T) {
				r := link(t, g, "http://gateway.test:"+port, func(c *Config) { c.Mode, c.Network.Proxy = mode, "http://"+proxy })
				r.works(map[Mode]Transport{ModeAuto: Socket, ModePoll: Poll}[mode])
			})
		}
	})
	t.Run("plain, CONNECT refused", func(t *testing.T) {
		g := newGate(t)
		port := serve(t, g, nil)
		proxy := squid(t, "")
		t.Setenv("http_proxy", "http://"+proxy) // as a host has it
		r := link(t, g, "http://gateway.test:"+port, nil)
		if n := r.works(Poll); n != 1 {
			t.Errorf("the poll came after %d failures", n)
		}
		if e := r.link.Status().LastError; !strings.Contains(e, "CONNECT") || !strings.Contains(e, "403") {
			t.Errorf("the last error is %q", e)
		}
	})
	t.Run("TLS, CONNECT allowed", func(t *testing.T) {
		g, ca := newGate(t), newAuthority(t)
		port := serve(t, g, ca.server(false))
		proxy := squid(t, "", port)
		for _, mode := range []Mode{ModeAuto, ModePoll} {
			t.Run(string(mode), func(t *testing.T) {
				t.Setenv("https_proxy", proxy)
				r := link(t, g, "https://gateway.test:"+port, func(c *Config) { c.Mode, c.Network.CAFile = mode, ca.file() })
				r.works(map[Mode]Transport{ModeAuto: Socket, ModePoll: Poll}[mode])
			})
		}
	})
	t.Run("TLS, CONNECT refused", func(t *testing.T) {
		g, ca := newGate(t), newAuthority(t)
		port := serve(t, g, ca.server(false))
		proxy := squid(t, "")
		r := link(t, g, "https://gateway.test:"+port, func(c *Config) { c.Network.Proxy, c.Network.CAFile = "http://"+proxy, ca.file() })
		r.until("the proxy's refusal by the poll too", func(s Status) bool {
			return s.Transport == Poll && strings.Contains(s.LastError, "CONNECT") && strings.Contains(s.LastError, "403")
		})
	})
	t.Run("credentials", func(t *testing.T) {
		g, ca := newGate(t), newAuthority(t)
		plain, secure := newGate(t), g
		pport, sport := serve(t, plain, nil), serve(t, secure, ca.server(false))
		proxy := squid(t, "se cret", pport, sport)
		for _, mode := range []Mode{ModeSocket, ModePoll} {
			want := map[Mode]Transport{ModeSocket: Socket, ModePoll: Poll}[mode]
			t.Run("plain "+string(mode), func(t *testing.T) {
				link(t, plain, "http://gateway.test:"+pport, func(c *Config) { c.Mode, c.Network.Proxy = mode, "http://u:se%20cret@"+proxy }).works(want)
			})
			t.Run("TLS "+string(mode), func(t *testing.T) {
				link(t, secure, "https://gateway.test:"+sport, func(c *Config) {
					c.Mode, c.Network.Proxy, c.Network.CAFile = mode, "http://u:se%20cret@"+proxy, ca.file()
				}).works(want)
			})
			t.Run("wrong "+string(mode), func(t *testing.T) {
				r := link(t, plain, "http://gateway.test:"+pport, func(c *Config) { c.Mode, c.Network.Proxy = mode, "http://u:guessed@"+proxy })
				s := r.until("a refusal", func(s Status) bool { return s.LastError != "" })
				if !strings.Contains(s.LastError, "407") || strings.Contains(s.LastError, "guessed") {
					t.Errorf("the error is %q", s.LastError)
				}
			})
		}
	})
	t.Run("gateway down", func(t *testing.T) {
		port := clienttest.FreePort(t)
		proxy := squid(t, "", port)
		r := link(t, newGate(t), "http://gateway.test:"+port, func(c *Config) { c.Network.Proxy = "http://" + proxy })
		// The proxy says 503 to the CONNECT: the gateway's absence, not the socket's fault.
		for range 3 {
			r.until("a failure", func(s Status) bool {
				if s.Transport == Poll {
					t.Fatalf("%+v", s)
				}
				return s.LastError != ""
			})
		}
	})
}

func TestTunnelKeepsEarlyBytes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err == nil && !bytes.HasPrefix(buf[:n], []byte("CONNECT gateway.test:80 HTTP/1.1\r\nHost: gateway.test:80\r\n")) {
			err = fmt.Errorf("asked %q", buf[:n])
		}
		if err == nil {
			_, err = conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\nearly"))
		}
		served <- err
	}()
	eps, err := Network{Proxy: "http://" + l.Addr().String()}.endpoints([]string{"http://gateway.test"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := eps[0].connect(t.Context(), "tcp", "gateway.test:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 5)
	if _, err := conn.Read(buf); err != nil || string(buf) != "early" {
		t.Errorf("read %q, %v", buf, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestTunnelEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // never accepts, never answers
	eps, err := Network{Proxy: "http://" + l.Addr().String()}.endpoints([]string{"http://gateway.test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := eps[0].connect(ctx, "tcp", "gateway.test:80"); err == nil || ctx.Err() == nil {
		t.Errorf("connect returned %v", err)
	}
}
