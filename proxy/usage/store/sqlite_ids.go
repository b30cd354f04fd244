package store

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// mostRecords is how many records of one id are looked for. Where there are more, they are found as well by looking at all.
const mostRecords = 10_000

// identify finds the id of a listing of a uid, and the numbers of the records that may have the id.
func (e *sqliteEngine) identify(ctx context.Context, l *Listing) error {
	c, err := e.reader()
	if err != nil {
		return err
	}
	defer c.close()
	since, until := l.Since.UnixMicro(), l.Until.UnixMicro()
	if l.id == "" {
		for _, span := range spansOf(uuid.MustParse(l.UID), since, until) {
			if err = c.idOf(ctx, l, span); err != nil || l.id != "" {
				break
			}
		}
	}
	l.records = []string{}
	if err == nil && l.id != "" {
		err = c.recordsOf(ctx, l, since, until+grace)
	}
	if len(l.records) > mostRecords {
		l.records = nil
	}
	return err
}

// spansOf are when a request of a uid may have come.
func spansOf(uid uuid.UUID, since, until int64) [][2]int64 {
	if uid.Version() != 7 {
		return [][2]int64{{since, until}}
	}
	made, second := time.Unix(uid.Time().UnixTime()).UnixMicro(), time.Second.Microseconds()
	return [][2]int64{{made - second, made + second}, {made - grace, made}}
}

func (l *link) idOf(ctx context.Context, q *Listing, span [2]int64) error {
	s, err := l.keep(`SELECT id FROM records INDEXED BY records_time WHERE time >= ? AND time < ? AND uid = unhex(?, '-')`)
	if err != nil {
		return err
	}
	s.ints(span[0], span[1])
	s.text(q.UID)
	return s.each(ctx, func() error {
		q.id = string(s.bytes(0))
		return nil
	})
}

// recordsOf looks an id up where its record's batch has it: by its spot, piece of time by piece, or among the sums of ids.
func (l *link) recordsOf(ctx context.Context, q *Listing, since, until int64) error {
	s, err := l.keep(`WITH RECURSIVE piece(n) AS (SELECT max(?, (SELECT min(time) FROM records)) >> ` + strconv.Itoa(spotSpan) + ` UNION ALL
		SELECT n + 1 FROM piece WHERE n < min(?, (SELECT max(time) FROM records)) >> ` + strconv.Itoa(spotSpan) + `)
		SELECT r.record FROM piece CROSS JOIN records AS r INDEXED BY records_spot ON r.spot = piece.n << 32 | ? WHERE r.id = ? LIMIT ?`)
	if err != nil {
		return err
	}
	s.ints(since, until, spotOf(0, q.id))
	s.text(q.id)
	s.int(mostRecords + 1)
	if err := s.each(ctx, func() error { q.found(s.number(0)); return nil }); err != nil {
		return err
	}
	check, err := l.keep(`SELECT 1 FROM records WHERE record = ? AND id = ?`)
	if err != nil {
		return err
	}
	ids, err := l.keep(`SELECT first, sums FROM ids WHERE until >= ? AND since < ?`)
	if err != nil {
		return err
	}
	ids.ints(since, until)
	sum := shortSum(q.id)
	return ids.each(ctx, func() error {
		first, sums := ids.number(0), ids.bytes(1)
		for i := 0; i+2 <= len(sums) && len(q.records) <= mostRecords; i += 2 {
			if binary.LittleEndian.Uint16(sums[i:]) != sum {
				continue
			}
			check.int(first + int64(i/2))
			check.text(q.id)
			there, err := check.one()
			if err != nil {
				return err
			}
			if there == 1 {
				q.found(first + int64(i/2))
			}
		}
		return nil
	})
}

func (l *Listing) found(record int64) { l.records = append(l.records, strconv.FormatInt(record, 10)) }
