package client

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

// nginx starts nginx before a gateway, with lines for its location.
func nginx(t *testing.T, gatewayPort, lines string) (url string) {
	t.Helper()
	bin := clienttest.Program(t, "/usr/sbin/nginx", "/usr/local/nginx/sbin/nginx")
	dir, port := clienttest.Dir(t, 0o777), clienttest.FreePort(t)
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server {
		listen 127.0.0.1:%[2]s;
		location / {
			proxy_pass http://127.0.0.1:%[3]s;
			%[4]s
		}
	}
}
`, dir, port, gatewayPort, lines))
	program(t, dir, port, bin, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	return "http://127.0.0.1:" + port
}

const forwardUpgrade = `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";`

func TestNginxStripsUpgrades(t *testing.T) {
	g := newGate(t)
	url := nginx(t, serve(t, g, nil), "")
	r := link(t, g, url, nil)
	if n := r.works(Poll); n != 1 {
		t.Errorf("the poll came after %d failures", n)
	}
	if n := upgrades(g); n != 1 {
		t.Errorf("%d upgrades were tried", n)
	}
}

func TestNginxForwardsUpgrades(t *testing.T) {
	g := newGate(t)
	r := link(t, g, nginx(t, serve(t, g, nil), forwardUpgrade), nil)
	r.works(Socket)
}

func TestNginxCutsIdleSockets(t *testing.T) {
	g := newGate(t)
	url := nginx(t, serve(t, g, nil), forwardUpgrade+"proxy_read_timeout 1s;")
	g.retry = "0"
	r := link(t, g, url, func(c *Config) { c.Timing.Wait = 500 * time.Millisecond })
	r.until("the poll", func(s Status) bool { return s.Up && s.Transport == Poll })
	g.submit(jobA)
	g.waitFinished(jobA)
	if n := upgrades(g); n != 3 {
		t.Errorf("%d sockets were cut before", n)
	}
}

// upgrades tells how many sockets were asked for.
func upgrades(g *gate) (n int) {
	for _, q := range g.asked() {
		if strings.HasPrefix(q, "GET "+wire.PathSocket) {
			n++
		}
	}
	return n
}
