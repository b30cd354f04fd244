package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ConfigFile is one file of a configuration, without what is secret in it.
type ConfigFile struct {
	Name string `json:"name"` // as seen from the main file, which comes first
	Kind string `json:"kind"` // main, include or prices
	Text string `json:"text"`
}

// Version is a configuration that was in force.
type Version struct {
	ID       int64
	SHA256   string // of its files, in hexadecimal
	At       time.Time
	Author   string       // who had it come into force
	Restores int64        // the version whose files it brought back; 0: none
	Files    []ConfigFile // lists leave them out
}

// Pin says that a version goes in place of the configuration's files.
type Pin struct {
	Version int64  // 0: the files go
	Files   string // what tells the files that it goes in place of
	Author  string
	At      time.Time
	Ended   bool // somewhere the files have changed since: where it is in force it stays, until they change there too
}

// How much is kept: so many versions, and so many bytes of them, but the last one and the pinned one always.
const (
	versionsKept = 200
	versionBytes = 64 << 20
)

// ErrNoVersion is the error for a version that there is not.
var ErrNoVersion = errors.New("no such version of the configuration")

// KeepVersion keeps a configuration that has come into force, unless the last one kept is the same: gateways that share a
// database take each in, and it is one version. Nobody waits for it.
func (s *Store) KeepVersion(v Version) {
	v = s.boundVersion(v)
	s.post(&write{inTurn: true, lost: &s.missed, do: func(ctx context.Context, tx *sql.Tx) error {
		_, err := keepVersion(ctx, tx, v, versionBytes)
		return err
	}})
}

func (s *Store) boundVersion(v Version) Version {
	if v.At.IsZero() {
		v.At = s.now()
	}
	v.Author = cut(v.Author)
	return v
}

// keepVersion returns the version's number, 0 of one without files. most is how many bytes of versions are kept.
func keepVersion(ctx context.Context, tx *sql.Tx, v Version, most int) (id int64, err error) {
	if len(v.Files) == 0 {
		return 0, nil
	}
	var last string
	err = tx.QueryRowContext(ctx, `SELECT id, sha256 FROM config_versions ORDER BY id DESC LIMIT 1`).Scan(&id, &last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) || last == v.SHA256 {
		return id, err
	}
	files, err := json.Marshal(v.Files)
	if err != nil {
		return 0, err
	}
	id++
	_, err = tx.ExecContext(ctx, `INSERT INTO config_versions (id, sha256, at, author, restores, files) VALUES ($1, $2, $3, $4, $5, $6)`,
		id, v.SHA256, millis(v.At), v.Author, v.Restores, files)
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM config_versions WHERE id NOT IN (SELECT version FROM config_pin) AND id IN (
		SELECT id FROM (
			SELECT id, ROW_NUMBER() OVER (ORDER BY id DESC) AS place, SUM(LENGTH(files)) OVER (ORDER BY id DESC) AS size FROM config_versions
		) AS sized WHERE place > $1 OR place > 1 AND size > $2)`, versionsKept, most)
	return id, err
}

// Versions lists what was kept, the newest first, older than a version, or from the newest on when before is 0.
func (s *Store) Versions(ctx context.Context, before int64, most int) ([]Version, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	list, err := collect(ctx, s.db, scanVersion,
		`SELECT id, sha256, at, author, restores FROM config_versions WHERE id < $1 OR $1 = 0 ORDER BY id DESC LIMIT $2`, before, most)
	return list, outOfTime(ctx, err)
}

func scanVersion(rows *sql.Rows) (v Version, err error) {
	var at int64
	err = rows.Scan(&v.ID, &v.SHA256, &at, &v.Author, &v.Restores)
	v.At = date(at)
	return v, err
}

// Version is one of them, with its files. When there is none of that number the error is ErrNoVersion.
func (s *Store) Version(ctx context.Context, id int64) (v Version, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	var at int64
	var files []byte
	err = s.db.QueryRowContext(ctx, `SELECT id, sha256, at, author, restores, files FROM config_versions WHERE id = $1`, id).
		Scan(&v.ID, &v.SHA256, &at, &v.Author, &v.Restores, &files)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return v, fmt.Errorf("version %d: %w", id, ErrNoVersion)
	case err != nil:
		return v, outOfTime(ctx, err)
	}
	v.At = date(at)
	return v, json.Unmarshal(files, &v.Files)
}

// LastVersion is the number of the newest version with these files, 0 when there is none.
func (s *Store) LastVersion(ctx context.Context, sha256 string) (id int64, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	err = s.db.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0) FROM config_versions WHERE sha256 = $1`, sha256).Scan(&id)
	return id, outOfTime(ctx, err)
}

// PinVersion keeps a version, as KeepVersion does, and has it go in place of files that were told to be these.
func (s *Store) PinVersion(ctx context.Context, v Version, files string) (Pin, error) {
	v = s.boundVersion(v)
	var made atomic.Pointer[Pin] // the transaction may be made twice, and outlive its caller
	err := s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		id, err := keepVersion(ctx, tx, v, versionBytes)
		if err != nil {
			return err
		}
		p := Pin{Version: id, Files: files, Author: v.Author, At: date(millis(v.At))}
		made.Store(&p)
		return setPin(ctx, tx, p)
	})
	if err != nil {
		return Pin{}, err
	}
	return *made.Load(), nil
}

// Unpin has the files go again, and keeps them, as KeepVersion does.
func (s *Store) Unpin(ctx context.Context, v Version) error {
	v = s.boundVersion(v)
	return s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := keepVersion(ctx, tx, v, versionBytes); err != nil {
			return err
		}
		return setPin(ctx, tx, Pin{})
	})
}

// SetPin puts back a pin that was there before, or none.
func (s *Store) SetPin(ctx context.Context, p Pin) error {
	return s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error { return setPin(ctx, tx, p) })
}

func setPin(ctx context.Context, tx *sql.Tx, p Pin) error {
	ended := 0
	if p.Ended {
		ended = 1
	}
	n, err := affected(tx.ExecContext(ctx, `UPDATE config_pin SET version = $1, files = $2, author = $3, at = $4, ended = $5`,
		p.Version, p.Files, p.Author, millis(p.At), ended))
	if err == nil && n == 0 {
		err = errors.New("BUG: a version was pinned before the salt was asked for")
	}
	return err
}

// Pinned is the pin that there is.
func (s *Store) Pinned(ctx context.Context) (p Pin, err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	var at, ended int64
	err = s.db.QueryRowContext(ctx, `SELECT version, files, author, at, ended FROM config_pin`).Scan(&p.Version, &p.Files, &p.Author, &at, &ended)
	if errors.Is(err, sql.ErrNoRows) {
		return Pin{}, nil
	}
	p.At, p.Ended = date(at), ended != 0
	return p, outOfTime(ctx, err)
}

// EndPin notes that files have changed which a pin went in place of. Nobody waits for it.
func (s *Store) EndPin(p Pin) {
	s.post(&write{inTurn: true, lost: &s.missed, do: func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE config_pin SET ended = 1 WHERE version = $1 AND at = $2`, p.Version, millis(p.At))
		return err
	}})
}

// ConfigSalt is what secrets of configurations are digested with: the same for all gateways of a database, and no other.
func (s *Store) ConfigSalt(ctx context.Context) (salt []byte, err error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // it never fails
	err = s.writeInTurn(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO config_pin (one, salt, version, files, author, at, ended) VALUES (1, $1, 0, '', '', 0, 0)
			ON CONFLICT (one) DO NOTHING`, fresh)
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	err = s.db.QueryRowContext(ctx, `SELECT salt FROM config_pin`).Scan(&salt)
	return salt, outOfTime(ctx, err)
}
