package redisqueue

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"redis://localhost":                         "single localhost:6379 0 - - plain",
		"redis://u:p@h:7000/3?read_timeout=7s":      "single h:7000 3 u p plain",
		"rediss://h:7000":                           "single h:7000 0 - - tls",
		"redis://u:p@a:1,b:2,c":                     "cluster a:1,b:2,c:6379 u p plain",
		"redis://a:1?addr=b:2":                      "cluster a:1,b:2 - - plain",
		"rediss://a:1?cluster=true":                 "cluster a:1 - - tls",
		"redis://a:1?cluster=false":                 "single a:1 0 - - plain",
		"redis://[::1]:7":                           "single [::1]:7 0 - - plain",
		"http://h":                                  `unknown scheme "http"`,
		"h:6379":                                    "no scheme",
		"redis://a:1?cluster=perhaps":               "neither true nor false",
		"redis://a:1?no_such_setting=1":             "no_such_setting",
		"redis+sentinel://a:1":                      "names no master",
		"redis://user:secret@a:x/0":                 "the URL",
		"redis+sentinel://a:1/mymaster/no/database": "path",
	} {
		got, err := describe(url)
		if err != nil {
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") || queue.CodeOf(err) != queue.Invalid {
				t.Errorf("%s: bad error %q", url, err)
			}
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// describe tells what client a URL makes.
func describe(url string) (string, error) {
	o := Options{URL: url}
	c, err := o.connect()
	if err != nil {
		return "", err
	}
	defer c.Close()
	or := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	secure := func(c *tls.Config) string {
		if c != nil {
			return "tls"
		}
		return "plain"
	}
	switch c := c.(type) {
	case *redis.ClusterClient:
		o := c.Options()
		return strings.Join([]string{"cluster", strings.Join(o.Addrs, ","), or(o.Username), or(o.Password), secure(o.TLSConfig)}, " "), nil
	case *redis.Client:
		o := c.Options()
		return strings.Join([]string{"single", o.Addr, string(rune('0' + o.DB)), or(o.Username), or(o.Password), secure(o.TLSConfig)}, " "), nil
	}
	return "?", nil
}

func TestPasswordApart(t *testing.T) {
	for _, url := range []string{"redis://a:1", "redis://a:1?cluster=true"} {
		o := Options{URL: url, Username: "user", Password: "secret", TLS: &tls.Config{ServerName: "n"}}
		c, err := o.connect()
		if err != nil {
			t.Fatal(err)
		}
		switch c := c.(type) {
		case *redis.Client:
			if o := c.Options(); o.Username != "user" || o.Password != "secret" || o.TLSConfig.ServerName != "n" {
				t.Errorf("%s: %+v", url, o)
			}
		case *redis.ClusterClient:
			if o := c.Options(); o.Username != "user" || o.Password != "secret" || o.TLSConfig.ServerName != "n" {
				t.Errorf("%s: %+v", url, o)
			}
		}
		_ = c.Close()
	}
}

// Open refuses, in one line, what couldn't be a store.
func TestOpenRefuses(t *testing.T) {
	srv := redistest.Start(t)
	rdb := srv.Client()
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	refused := func(o Options, want string) {
		t.Helper()
		s, err := Open(ctx, o)
		if err == nil {
			_ = s.Close()
			t.Errorf("Open: no error, want %q", want)
			return
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || queue.CodeOf(err) != queue.Invalid {
			t.Errorf("Open: %q (%s), want %q", err, queue.CodeOf(err), want)
		}
	}
	opened := func(o Options) {
		t.Helper()
		s, err := Open(ctx, o)
		if err != nil {
			t.Errorf("Open: %v", err)
			return
		}
		_ = s.Close()
	}
	o := Options{URL: srv.URL}
	opened(o)
	opened(o)
	if err := rdb.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	refused(o, "its maxmemory-policy is allkeys-lru")
	if err := rdb.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{"partitions": "partitions 64 under the prefix rexgate:; this program has 128", "schema": "schema 64"} {
		old := rdb.HGet(ctx, "rexgate:{jobs}:meta", field).Val()
		rdb.HSet(ctx, "rexgate:{jobs}:meta", field, "64")
		refused(o, want)
		rdb.HSet(ctx, "rexgate:{jobs}:meta", field, old)
	}
	opened(o)
	refused(Options{URL: srv.URL, Prefix: "a{b}"}, "prefix")
	refused(Options{URL: srv.URL + "?cluster=true"}, "isn't a node of a cluster")
}

func TestVersions(t *testing.T) {
	for version, ok := range map[string]bool{
		"redis_version:6.2.14": false, "redis_version:5.0.0": false, "redis_version:7.0.0": true, "redis_version:7.0.15": true,
		"redis_version:8.2.1": true, "redis_version:10.0.0": true, "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.0.0": true,
	} {
		err := checkInfo(parseInfo("# Server\r\n"+version+"\r\nmaxmemory_policy:noeviction\r\ncluster_enabled:0\r\n"), "h:1", false)
		if (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
	if err := checkInfo(parseInfo("redis_version:7.0.0\r\nmaxmemory_policy:noeviction\r\ncluster_enabled:1\r\n"), "h:1", false); err == nil || !strings.Contains(err.Error(), "cluster=true") {
		t.Errorf("a node of a cluster: %v", err)
	}
}

// The tags are in the middle of equal ranges of the slots, once and for all.
func TestTags(t *testing.T) {
	list := strings.Fields(tags)
	if len(list) != Partitions {
		t.Fatalf("%d tags", len(list))
	}
	for p, tag := range list {
		if s := slot(tag); s != p*128+64 {
			t.Errorf("tag %s of partition %d is in slot %d", tag, p, s)
		}
	}
}

// slot is Redis' hash slot of a tag: CRC-16/XMODEM.
func slot(tag string) int {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % 16384
}

// Where hosts are must never change, and they are spread evenly, however
// they are named.
func TestPartition(t *testing.T) {
	for host, want := range map[queue.HostID]int{"a": 77, "web-1.example.org": 67, "host-000001": 22} {
		if got := partition(host); got != want {
			t.Errorf("%s is in partition %d, was in %d", host, got, want)
		}
	}
	for _, name := range []func(i int) string{
		func(i int) string { return "host-" + strings.Repeat("0", 6) + strconv.Itoa(i) },
		func(i int) string { return "h" + strconv.Itoa(i) + ".dc1.example.com" },
		func(i int) string { return strconv.Itoa(i * 1000) },
	} {
		var n [Partitions]int
		for i := range 128 * 200 {
			n[partition(queue.HostID(name(i)))]++
		}
		for p, k := range n {
			if k < 130 || k > 270 {
				t.Errorf("partition %d has %d of %d hosts like %s", p, k, 128*200, name(1))
			}
		}
	}
}

// Every script says in its head what it takes and gives, and Redis would take
// it; those that write can't be started where writing isn't possible.
func TestScriptFiles(t *testing.T) {
	files, err := filepath.Glob("lua/*.lua")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`(?m)^-- (KEYS|ARGV|Returns)`)
	shared := []string{"common.lua", "host.lua", "execution.lua", "policy.lua", "finish.lua"}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(f)
		if !strings.HasPrefix(string(text), "-- "+name+": ") {
			t.Errorf("%s doesn't begin with its name", name)
		}
		if !slices.Contains(shared, name) && len(used.FindAllString(string(text), -1)) < 3 {
			t.Errorf("%s: its head doesn't say KEYS, ARGV and Returns", name)
		}
	}
	s, err := loadScripts(true)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, verbs := range s.kinds() {
		for name, sc := range verbs {
			if !strings.Contains(s.text, "'"+(*sc).function+"'") {
				t.Errorf("%s isn't in the library", name)
			}
			n++
		}
	}
	if n != len(files)-len(shared) {
		t.Errorf("%d functions of %d files are in the library", n, len(files))
	}
}
