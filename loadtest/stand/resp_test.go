package stand

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	for text, want := range map[string]string{
		"+OK\r\n":                          "OK",
		":-5\r\n":                          "-5",
		"$5\r\nab\r\nc\r\n":                "ab\r\nc",
		"$0\r\n\r\n":                       "",
		"$-1\r\n":                          "<nil>",
		"*2\r\n$1\r\na\r\n*1\r\n:1\r\n":    "[a [1]]",
		"*0\r\n":                           "[]",
		"-ERR no\r\n":                      "error ERR no",
		"":                                 "error EOF",
		"\r\n":                             "error not RESP",
		"$x\r\n":                           `error not RESP: "$x"`,
		"$99999999999\r\n":                 `error not RESP: "$99999999999"`,
		"*99999999999\r\n":                 `error not RESP: "*99999999999"`,
		"$5\r\nab":                         "error unexpected EOF",
		"!1\r\n":                           `error not RESP: "!1"`,
		strings.Repeat("*1\r\n", 50):       "error not RESP",
		"*2\r\n:1\r\n-ERR in it\r\n:1\r\n": "error ERR in it",
	} {
		reply, err := readReply(bufio.NewReader(strings.NewReader(text)), 0)
		got := fmt.Sprint(reply)
		if err != nil {
			got = "error " + err.Error()
		}
		if got != want {
			t.Errorf("%q is read as %s, want %s", text, got, want)
		}
	}
}

// TestRedisPassword talks to a server that asks for a password.
func TestRedisPassword(t *testing.T) {
	t.Parallel()
	st := begin(t, Config{Store: Redis, Args: nil})
	c, err := dialRedis(t.Context(), st.Redis, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.do("CONFIG", "SET", "requirepass", "s3cret word"); err != nil {
		t.Fatal(err)
	}
	for password, ok := range map[string]bool{"s3cret word": true, "wrong": false, "": false} {
		if r, err := readRedis(t.Context(), st.Redis, password); (err == nil) != ok || ok && r.rss == 0 {
			t.Errorf("with the password %q: %+v, %v", password, r, err)
		}
	}
	if _, err := c.do("CONFIG", "SET", "requirepass", ""); err != nil {
		t.Fatal(err)
	}
}
