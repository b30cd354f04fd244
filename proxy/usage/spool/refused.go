package spool

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// refusedMost is how large the file of refused records grows. Then it becomes the old one, and the one before that goes.
const refusedMost = 8 << 20

// aside is a line of the file.
type aside struct {
	Time   time.Time `json:"time"`
	Error  string    `json:"error"`
	Record []byte    `json:"record"`
}

// setAside writes a record that the sink will never take to a file, for people to look at: a line of JSON each, the record in
// base64.
func (l *Log) setAside(record []byte, why error) error {
	line, err := json.Marshal(aside{time.Now().UTC(), why.Error(), record})
	if err != nil {
		return err
	}
	path := filepath.Join(l.o.Dir, "refused")
	if stat, err := os.Stat(path); err == nil && stat.Size() > refusedMost {
		if err := os.Rename(path, path+".old"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// expire lets refused records go when their time is over. A file is the old one from half of that time on, so that both are of one age.
func (l *Log) expire(now time.Time) error {
	path := filepath.Join(l.o.Dir, "refused")
	old := path + ".old"
	if begun, ok := setAsideFrom(old); ok && now.Sub(begun) >= l.o.Keep {
		if err := os.Remove(old); err != nil {
			return err
		}
	}
	if begun, ok := setAsideFrom(path); ok && now.Sub(begun) >= l.o.Keep/2 {
		return os.Rename(path, old)
	}
	return nil
}

// setAsideFrom is when the first record came that is in a file. One that cannot be read is as old as can be.
func setAsideFrom(path string) (begun time.Time, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return begun, false
	}
	defer f.Close()
	var first aside
	if err := json.NewDecoder(f).Decode(&first); err != nil {
		return time.Time{}, true
	}
	return first.Time, true
}
