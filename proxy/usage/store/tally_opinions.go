package store

import (
	"bytes"
	"context"

	"jarvis-gateway/proxy/usage"
)

// view is what somebody said of a request.
type view struct {
	at    int64
	uid   string
	score int64 // in millionths
}

// said are requests by their tenant and id.
type said struct{ tenant, id string }

// opinions finds the latest opinion of each request. One that names no record counts for the latest request of its tenant that had
// the id.
func (t *tally) opinions(ctx context.Context, q *Question) (map[usage.UID]int64, error) {
	s, err := t.keep(`SELECT unhex("of", '-'), time, uid, tenant, request, CAST(coalesce(` + millionths + `, 0) AS INTEGER) FROM feedback AS o WHERE time >= ?`)
	if err != nil {
		return nil, err
	}
	latest, unnamed := map[usage.UID]view{}, map[said]view{}
	s.int(q.Since.UnixMicro())
	err = s.each(ctx, func() error {
		o, tenant := view{s.number(1), string(s.bytes(2)), s.number(5)}, string(s.bytes(3))
		if wanted := t.where["tenant"]; wanted != nil && !wanted[tenant] {
			return nil
		}
		if of := readUID(s.bytes(0)); of != (usage.UID{}) {
			keepLatest(latest, of, o)
		} else {
			unnamed[said{tenant, string(s.bytes(4))}] = o
		}
		return nil
	})
	if err == nil && len(unnamed) > 0 {
		err = t.nameOpinions(ctx, q, latest, unnamed)
	}
	scores := make(map[usage.UID]int64, len(latest))
	for uid, o := range latest {
		scores[uid] = o.score
	}
	return scores, err
}

func readUID(b []byte) (u usage.UID) {
	copy(u[:], b)
	return u
}

func keepLatest(latest map[usage.UID]view, of usage.UID, o view) {
	if known, ok := latest[of]; !ok || o.at > known.at || o.at == known.at && o.uid > known.uid {
		latest[of] = o
	}
}

// nameOpinions looks through the requests for those that opinions are about.
func (t *tally) nameOpinions(ctx context.Context, q *Question, latest map[usage.UID]view, unnamed map[said]view) error {
	ids := map[string]bool{}
	for of := range unnamed {
		ids[of.id] = true
	}
	s, err := t.keep(`SELECT id, caller, uid, time FROM records INDEXED BY records_time WHERE time >= ? AND time < ? ORDER BY time`)
	if err != nil {
		return err
	}
	type request struct {
		at  int64
		uid usage.UID
	}
	newest := map[said]request{}
	s.ints(q.Since.UnixMicro(), q.Until.UnixMicro()+grace)
	err = s.each(ctx, func() error {
		id := s.bytes(0)
		if !ids[string(id)] {
			return nil
		}
		caller, err := t.shared(t.caller, "caller", callerNames, s.number(1))
		if err != nil {
			return err
		}
		key := said{caller.names["tenant"], string(id)}
		r := request{s.number(3), readUID(s.bytes(2))}
		if known, ok := newest[key]; !ok || r.at > known.at || bytes.Compare(r.uid[:], known.uid[:]) > 0 {
			newest[key] = r
		}
		return nil
	})
	for of, o := range unnamed {
		if r, ok := newest[of]; ok {
			keepLatest(latest, r.uid, o)
		}
	}
	return err
}
