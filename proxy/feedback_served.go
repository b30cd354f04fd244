package proxy

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
	"jarvis-gateway/router/prompt"
)

// served remembers the last answers, so that clients can say what they think of them: 32,768 in 6 MB, which are set aside at the
// start. To remember one allocates nothing. Each has a place in one of many small rings, by a digest that nobody can foresee, and
// the oldest of its ring goes. Of 100,000 answers not one is forgotten before 8,000 others came, and 1 % before 16,000 did.
type served struct {
	seed    maphash.Seed
	rings   []ring
	answers []answer // the first of each ring, then the second ones...: a few answers touch little memory
	names   []nameRing
}

const (
	rings    = 2 << 10
	ringSize = 16
)

type ring struct {
	mu   sync.Mutex
	next uint8
	keys [ringSize]uint64 // digests of the tenants and the requests' ids; 0: nobody's
}

// answer is one of them.
type answer struct {
	tenant string
	team   string // "" of what no team asked for
	model  string // the entry of models that served
	prompt *prompt.Used
	side   router.Side
	record usage.UID // of the request; zero: nobody keeps records
	id     shortText
	score  float64
	scored bool
}

// nameRing leads from the ids that providers gave their answers to the requests.
type nameRing struct {
	mu    sync.Mutex
	next  uint8
	names [ringSize]struct{ name, key uint64 }
}

// shortText is an id without an allocation, unless it is longer than those that the gateway makes and UUIDs.
type shortText struct {
	n     uint8
	short [47]byte
	long  string
}

func (t *shortText) set(id []byte) {
	if t.long = ""; len(id) > len(t.short) {
		t.long = string(id)
		return
	}
	t.n = uint8(copy(t.short[:], id)) //nolint:gosec // at most 47
}

func (t *shortText) String() string {
	if t.long != "" {
		return t.long
	}
	return string(t.short[:t.n])
}

func newServed() *served {
	return &served{seed: maphash.MakeSeed(), rings: make([]ring, rings), answers: make([]answer, rings*ringSize), names: make([]nameRing, rings)}
}

// digest is that of a tenant's id, never 0.
func (s *served) digest(tenant string, id []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.WriteString(tenant) // it cannot fail
	_ = h.WriteByte(0)
	_, _ = h.Write(id)
	return max(h.Sum64(), 1)
}

// put remembers an answer. One to an earlier request of the same id is forgotten.
func (s *served) put(key uint64, a *answer) {
	n := key % rings
	r := &s.rings[n]
	r.mu.Lock()
	defer r.mu.Unlock()
	at := s.find(n, key, a.tenant)
	if at == nil {
		at = s.answer(n, int(r.next))
		r.keys[r.next] = key
		r.next = (r.next + 1) % ringSize
	}
	*at = *a
}

// find is the answer that a ring has under a key, nil for none. Under the ring's mu.
func (s *served) find(n, key uint64, tenant string) *answer {
	for i, known := range s.rings[n].keys {
		if known == key {
			if a := s.answer(n, i); a.tenant == tenant {
				return a
			}
		}
	}
	return nil
}

func (s *served) answer(n uint64, slot int) *answer { return &s.answers[uint64(slot)*rings+n] }

// name has an answer be found by another id too.
func (s *served) name(key uint64, tenant string, id []byte) {
	name := s.digest(tenant, id)
	r := &s.names[name%rings]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[r.next].name, r.names[r.next].key = name, key
	r.next = (r.next + 1) % ringSize
}

// named is the key of the answer that was last given a name, 0 for none.
func (s *served) named(name uint64) uint64 {
	r := &s.names[name%rings]
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range uint8(ringSize) { // the latest first
		if at := &r.names[(r.next+ringSize-1-i)%ringSize]; at.name == name {
			return at.key
		}
	}
	return 0
}

// rate gives an answer its score. It returns the answer, and the score that it had before, if it had one. Who is of a team finds
// only what his team asked for.
func (s *served) rate(tenant, team, id string, score float64) (a answer, before *float64, ok bool) {
	key := s.digest(tenant, []byte(id))
	if a, before, ok = s.rateKey(tenant, team, key, score); ok {
		return a, before, true
	}
	if key = s.named(key); key == 0 {
		return answer{}, nil, false
	}
	return s.rateKey(tenant, team, key, score)
}

func (s *served) rateKey(tenant, team string, key uint64, score float64) (a answer, before *float64, ok bool) {
	n := key % rings
	r := &s.rings[n]
	r.mu.Lock()
	defer r.mu.Unlock()
	at := s.find(n, key, tenant)
	if at == nil || team != "" && at.team != team {
		return answer{}, nil, false
	}
	if at.scored {
		old := at.score
		before = &old
	}
	at.score, at.scored = score, true
	return *at, before, true
}

// remember has clients say what they think of the answer that they are about to get. What is refused or fails is not remembered:
// it says nothing of a model, and may come in floods.
func (x *exchange) remember() {
	if x.route == nil || x.call.Count {
		return
	}
	s := x.conn.server.Ratings.served
	a := answer{tenant: x.caller.Tenant, team: x.caller.Team, model: x.route.Name, prompt: x.prompt, record: x.uid}
	if x.target != nil {
		a.model = x.target.Serves().Name
	}
	a.side = x.side()
	a.id.set(x.id)
	s.put(s.digest(a.tenant, x.id), &a)
	if x.reply.Stream == nil {
		x.nameAnswer(x.reply.Body)
	}
}

// side is that of the rollout which the request was part of. One that another model answered says nothing of either.
func (x *exchange) side() router.Side {
	if x.query == nil || x.query.Known == 0 || x.target != nil && x.target.Serves() != x.route {
		return router.Side{}
	}
	if _, arm := x.query.Trial.Arm(); arm != x.route.Name {
		return router.Side{}
	}
	return x.query.Trial.Side()
}

// nameAnswer has the answer be found by its own id too, given how it begins. Where providers give many answers the same id, the last
// one has it.
func (x *exchange) nameAnswer(begin []byte) {
	if x.ep.kind == wire.Plain || x.route == nil {
		return
	}
	path := "id"
	if x.reply.Stream != nil && eventPaths[x.ep.kind] != "" {
		path = eventPaths[x.ep.kind]
	}
	if id := answerID(begin, path); id != nil {
		s := x.conn.server.Ratings.served
		s.name(s.digest(x.caller.Tenant, x.id), x.caller.Tenant, id)
	}
}

// eventPaths is where the first event of a stream has the answer's id, if not in front.
var eventPaths = map[wire.Kind]string{wire.Message: "message.id", wire.Response: "response.id"}

// answerID is the id of an answer, or of a stream that begins with its first event; nil for none. Most have it in front.
func answerID(begin []byte, path string) []byte {
	at := bytes.IndexByte(begin, '{')
	if at < 0 {
		return nil
	}
	object := begin[at:]
	id, first := bytes.CutPrefix(bytes.TrimLeft(object[1:], blanks), idField)
	if id = bytes.TrimLeft(id, ":"+blanks); !first || path != "id" {
		id = []byte(gjson.GetBytes(object, path).Raw)
	}
	id, ok := bytes.CutPrefix(id, []byte{'"'})
	if !ok {
		return nil
	}
	id, _, ok = bytes.Cut(id, []byte{'"'})
	if !ok || !fitID(id) {
		return nil
	}
	return id
}

const blanks = " \r\n\t"

var idField = []byte(`"id"`)
