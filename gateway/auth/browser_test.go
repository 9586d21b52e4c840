package auth

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestBrowserTokenEndsWithTheOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSigner(newKey(t))
		for _, c := range []struct{ given, want time.Duration }{
			{time.Hour, time.Hour}, {MaxBrowserTTL, MaxBrowserTTL}, {30 * 24 * time.Hour, MaxBrowserTTL}, {time.Second, time.Second},
		} {
			token, expires, err := s.SignBrowser(Operator{Subject: "ann", Scopes: Scopes(), Expires: time.Now().Add(c.given)})
			if err != nil {
				t.Fatal(err)
			}
			o, err := s.VerifyBrowser(token)
			if err != nil || o.Subject != "ann" || len(o.Scopes) != len(Scopes()) || !o.Expires.Equal(expires) || time.Until(expires) != c.want {
				t.Errorf("for %v: %+v, %v", c.given, o, err)
			}
			if _, err := s.VerifyOperator(token); reasonOf(err) != WrongKind {
				t.Errorf("as an operator's: %v", err)
			}
			time.Sleep(c.want + Leeway)
			if _, err := s.VerifyBrowser(token); reasonOf(err) != Time {
				t.Errorf("after its end: %v", err)
			}
		}
		if _, _, err := s.SignBrowser(Operator{Subject: "ann", Scopes: Scopes(), Expires: time.Now()}); reasonOf(err) != Time {
			t.Errorf("of an expired token: %v", err)
		}
		token, _, err := s.SignOperator(Operator{Subject: "ann", Scopes: Scopes()}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.VerifyBrowser(token); reasonOf(err) != WrongKind {
			t.Errorf("an operator's as a browser's: %v", err)
		}
	})
}

func TestCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Codes
		text, expires := c.Make(Operator{Subject: "ann"})
		if time.Until(expires) != CodeTTL || len(text) < 26 {
			t.Errorf("%q until %v", text, expires)
		}
		if _, err := c.Take(text + "x"); reasonOf(err) != Unknown {
			t.Errorf("another code: %v", err)
		}
		time.Sleep(CodeTTL - time.Nanosecond)
		if o, err := c.Take(text); err != nil || o.Subject != "ann" {
			t.Errorf("%+v, %v", o, err)
		}
		if _, err := c.Take(text); reasonOf(err) != Unknown {
			t.Errorf("a second time: %v", err)
		}
		late, _ := c.Make(Operator{Subject: "ann"})
		time.Sleep(CodeTTL)
		if _, err := c.Take(late); reasonOf(err) != Unknown {
			t.Errorf("after its end: %v", err)
		}

		var texts []string
		for i := range MaxCodes + 10 {
			time.Sleep(time.Millisecond)
			text, _ := c.Make(Operator{Subject: fmt.Sprint(i)})
			texts = append(texts, text)
		}
		if len(c.codes) != MaxCodes {
			t.Errorf("%d codes are kept", len(c.codes))
		}
		for i, text := range texts {
			if _, err := c.Take(text); (err == nil) != (i >= 10) {
				t.Errorf("code %d of %d: %v", i, len(texts), err)
			}
		}
		c.Make(Operator{})
		time.Sleep(CodeTTL)
		c.Make(Operator{})
		if len(c.codes) != 1 {
			t.Errorf("%d codes are kept, of which one is good", len(c.codes))
		}
	})
}
