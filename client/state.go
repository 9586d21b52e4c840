package client

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// lastWay is what the state file keeps: what worked last.
type lastWay struct {
	Transport Transport `json:"transport"`
	Gateway   string    `json:"gateway"`
}

// recall begins with what worked last, if it is still configured.
func (l *Link) recall() {
	if l.cfg.StateFile == "" {
		return
	}
	b, err := os.ReadFile(l.cfg.StateFile)
	var way lastWay
	if err != nil || json.Unmarshal(b, &way) != nil {
		return // a hint only: there is none
	}
	for i, e := range l.endpoints {
		if e.url == way.Gateway {
			l.choice.begin(time.Now(), way.Transport, i)
		}
	}
}

// remember writes what works now, if it is news.
func (l *Link) remember(tr Transport, ep *endpoint) {
	way := lastWay{tr, ep.url}
	if l.cfg.StateFile == "" || way == l.kept {
		return
	}
	b, err := json.Marshal(way)
	if err == nil {
		err = writeFile(l.cfg.StateFile, b, 0o600)
	}
	if err != nil {
		l.log.Warn("what works can't be remembered", "file", l.cfg.StateFile, "err", err)
		return
	}
	l.kept = way
}

// writeFile replaces a file as a whole, and returns when it is on the disk.
func writeFile(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
