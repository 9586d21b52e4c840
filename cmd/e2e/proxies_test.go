package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
)

// gatewayName is resolved by the proxies alone: agents never look it up, as behind a strict egress.
const gatewayName = "gateway.test"

// TestSquid reaches a gateway through a squid with Debian's configuration.
func TestSquid(t *testing.T) {
	t.Parallel()
	clienttest.Program(t, "squid")
	for _, c := range []struct {
		name, transport string
		tls             bool
		carries         string // the line of squid's log that shows the way
	}{
		{"socket, TLS", "socket", true, "CONNECT " + gatewayName + ":443"},
		{"poll, TLS", "poll", true, "CONNECT " + gatewayName + ":443"},
		// Debian's squid allows CONNECT to port 443 only: no socket, and the poll at once.
		{"whatever works, plain", "auto", false, "GET http://" + gatewayName},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var s *site
			if c.tls {
				s = tlsSite(t)
			} else {
				port := clienttest.FreePort(t)
				s = newSite(t, "sqlite", "--listen", "127.0.0.1:"+port, "--public-url", "http://"+gatewayName+":"+port)
			}
			ip, _, _ := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(s.url, "https://"), "http://"))
			proxy, log := squid(t, ip)
			env := []string{"HTTPS_PROXY=" + proxy, "HTTP_PROXY=" + proxy}
			s.enrolEnv = env
			s.agent(s.enrol("inside"), env, "--transport", c.transport)
			out, errs, code := s.rexctl("job", "run", "--all", "--", "echo through the proxy")
			if code != 0 {
				t.Fatalf("status %d: %s", code, errs)
			}
			expect(t, "output", out, "through the proxy")
			s.gate.stop() // squid writes a tunnel's line when it ends
			clienttest.Until(t, "squid has logged "+c.carries, func() bool {
				b, _ := os.ReadFile(log)
				return strings.Contains(string(b), c.carries)
			})
		})
	}
}

// TestUpgradeStripped has a reverse proxy in front that doesn't pass the upgrade, as nginx doesn't by itself.
func TestUpgradeStripped(t *testing.T) {
	t.Parallel()
	port := clienttest.FreePort(t)
	s := newSite(t, "sqlite", "--public-url", "http://127.0.0.1:"+port)
	plainNginx(t, port, s.url)
	began := time.Now()
	agent := s.agent(s.enrol("inside"), nil)
	out, errs, code := s.rexctl("job", "run", "--all", "--", "echo without an upgrade")
	if code != 0 {
		t.Fatalf("status %d: %s\n%s", code, errs, agent.err)
	}
	expect(t, "output", out, "without an upgrade")
	t.Logf("the job was done %v after the agent's start", time.Since(began))
	hosts := must(t, s.env, "rexctl", "host", "list", "-o", "jsonl")
	if h := jsonLine(hosts, "id", "inside"); h["transport"] != "poll" {
		t.Errorf("the host is not on the poll: %v", h)
	}
}

// plainNginx starts one that passes requests on to a URL, and no upgrade.
func plainNginx(t *testing.T, port, to string) {
	t.Helper()
	nginx := clienttest.Program(t, "nginx")
	dir := clienttest.Dir(t, 0o777)
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, `daemon off; worker_processes 1; pid `+dir+`/pid; error_log `+dir+`/error.log;
events {}
http {
	access_log `+dir+`/access.log;
	client_body_temp_path `+dir+`/b; proxy_temp_path `+dir+`/p; fastcgi_temp_path `+dir+`/f; uwsgi_temp_path `+dir+`/u; scgi_temp_path `+dir+`/s;
	server { listen 127.0.0.1:`+port+`; location / { proxy_pass `+to+`; } }
}
`)
	start(t, nil, nginx, "-c", conf, "-p", dir)
	listens(t, "127.0.0.1:"+port)
}

// squid starts one with Debian's own configuration, but for where it listens, logs, and resolves
// the gateway's name. It gives its URL and the log's path.
func squid(t *testing.T, gatewayIP string) (url, log string) {
	t.Helper()
	program := clienttest.Program(t, "squid")
	conf, err := os.ReadFile("/etc/squid/squid.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir, port := clienttest.Dir(t, 0o777), clienttest.FreePort(t)
	log = filepath.Join(dir, "access.log")
	write(t, filepath.Join(dir, "hosts"), gatewayIP+" "+gatewayName+"\n")
	text := strings.Replace(string(conf), "\nhttp_port 3128", "\nhttp_port 127.0.0.1:"+port, 1)
	text += "\nhosts_file " + dir + "/hosts\npid_filename " + dir + "/pid\naccess_log stdio:" + log +
		"\ncache_log " + dir + "/cache.log\ncoredump_dir " + dir + "\nshutdown_lifetime 1 second\n"
	write(t, filepath.Join(dir, "squid.conf"), text)
	start(t, nil, program, "-N", "-f", filepath.Join(dir, "squid.conf"))
	listens(t, "127.0.0.1:"+port)
	return "http://127.0.0.1:" + port, log
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// listens waits until something does.
func listens(t *testing.T, addr string) {
	t.Helper()
	clienttest.Until(t, addr+" is listened on", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
