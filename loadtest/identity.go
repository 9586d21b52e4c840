package loadtest

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Identity is who the hosts of a fleet are: their names and keys all follow from it.
type Identity struct {
	Name string `json:"name"` // of the fleet: the prefix of its hosts' ids, and their label
	Seed []byte `json:"seed"` // secret: of the hosts' keys
	// Server is where the hosts with the numbers up to Enrolled are known.
	Server   string `json:"server,omitempty"`
	Enrolled int    `json:"enrolled,omitempty"`
}

// Label is the label that a fleet's hosts have, with its name as the value.
const Label = "fleet"

// NewIdentity makes a fleet's identity that no other has.
func NewIdentity() Identity {
	seed := make([]byte, 32)
	rand.Read(seed) //nolint:errcheck // it never fails
	return Identity{Name: "load-" + strings.ToLower(rand.Text()[:6]), Seed: seed}
}

// Host is the id of the host with this number, from 0.
func (f Identity) Host(i int) string { return fmt.Sprintf("%s-%05d", f.Name, i) }

// Key is its key.
func (f Identity) Key(i int) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(f.derive("key " + f.Host(i)))
}

func (f Identity) derive(what string) []byte {
	m := hmac.New(sha256.New, f.Seed)
	m.Write([]byte(what))
	return m.Sum(nil)
}

const identityFile = "fleet.json"

// LoadIdentity reads the identity that a directory keeps for a server; a new one if there is none. One
// that is enrolled elsewhere is an error.
func LoadIdentity(dir, server string) (Identity, error) {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		f := NewIdentity()
		f.Server = server
		return f, nil
	}
	if err != nil {
		return Identity{}, err
	}
	var f Identity
	if err := json.Unmarshal(b, &f); err != nil || f.Name == "" || len(f.Seed) == 0 {
		return Identity{}, fmt.Errorf("%s: not a fleet's identity", path)
	}
	if f.Server != server {
		return Identity{}, fmt.Errorf("%s: this fleet is enrolled at %s, not at %s; take another directory", path, f.Server, server)
	}
	return f, nil
}

// Save keeps the identity in a directory, which is made if it isn't there.
func (f Identity) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+identityFile)
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, identityFile))
}
