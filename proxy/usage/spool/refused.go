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

// setAside writes a record that the sink will never take to a file, for people to look at: a line of JSON each, the record in
// base64.
func (l *Log) setAside(record []byte, why error) error {
	line, err := json.Marshal(struct {
		Time   time.Time `json:"time"`
		Error  string    `json:"error"`
		Record []byte    `json:"record"`
	}{time.Now().UTC(), why.Error(), record})
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
