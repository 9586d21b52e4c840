package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// CodeTTL is how long a code is good for.
const CodeTTL = 10 * time.Minute

// MaxCodes bounds the codes that are good at the same time. Beyond it the oldest one
// gives way.
const MaxCodes = 1000

// Codes are texts that stand for an operator once, in this process. They are for
// links that log a person in. It is safe for concurrent use; the zero value is ready.
type Codes struct {
	mu    sync.Mutex // guards what follows
	codes map[[sha256.Size]byte]code
}

type code struct {
	operator Operator
	expires  time.Time
}

// Make gives a code for an operator, whose own Expires holds for what is got by it too.
func (c *Codes) Make(o Operator) (text string, expires time.Time) {
	text = rand.Text() // 128 bits at least
	now := time.Now()
	expires = now.Add(CodeTTL)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.codes == nil {
		c.codes = map[[sha256.Size]byte]code{}
	}
	c.tidy(now)
	c.codes[sha256.Sum256([]byte(text))] = code{operator: o, expires: expires}
	return text, expires
}

// tidy makes room for one more.
func (c *Codes) tidy(now time.Time) {
	var oldest [sha256.Size]byte
	for sum, k := range c.codes {
		if !now.Before(k.expires) {
			delete(c.codes, sum)
		} else if o, ok := c.codes[oldest]; !ok || k.expires.Before(o.expires) {
			oldest = sum
		}
	}
	if len(c.codes) >= MaxCodes {
		delete(c.codes, oldest)
	}
}

// Take gives the operator that a code stands for, and makes the code void. It is looked up by its
// digest, so that the time it takes tells nothing of those that are good. Errors:
// *Error with Unknown.
func (c *Codes) Take(text string) (Operator, error) {
	sum := sha256.Sum256([]byte(text))
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.codes[sum]
	delete(c.codes, sum)
	if !ok || !time.Now().Before(k.expires) {
		return Operator{}, refuse(Unknown, "the code isn't good, or not any more: each works once, for %v, at the gateway that made it", CodeTTL)
	}
	return k.operator, nil
}
