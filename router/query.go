package router

import "time"

// Query is what a choice may look at. Its memory is used again by the next request. Fields that are costly to find out are
// filled where the route Needs them.
type Query struct {
	Known     Needs // which of the fields are filled
	Now       time.Time
	Model     string // asked for; what targets without a model are asked for
	Tenant    string
	Team      string
	Key       string
	Role      string
	User      string // the end user
	Scene     string
	Tags      []string
	Request   string                      // its id
	Stream    bool                        // known with Model
	Tokens    int64                       // of the prompt, estimated
	MaxTokens int64                       // of the answer, as the client says; 0: nothing said
	Images    bool                        // the prompt has pictures,
	Audio     bool                        // sound,
	Files     bool                        // files;
	Tools     bool                        // there are tools to call
	JSON      bool                        // the answer must be JSON
	Spent     float64                     // of the tightest budget, 0..1
	Header    func(string) string         // of the request
	Price     func(t *Target) int64       // of this request at a target, in nano-dollars; -1: not known
	Prefix    []uint64                    // hashes of the prompt's beginnings, see AppendPrefix
	Trial     Trial                       // of the rollout that was asked, until its end
	Trace     func(t *Target, why string) // is told why targets are passed over; nil: nobody asks
}

// Needs is which costly fields of a Query a route looks at.
type Needs uint16

// The costly fields.
const (
	NeedsModel  Needs = 1 << iota // Model, Stream
	NeedsWho                      // Tenant .. Tags, Header: what is known without the body
	NeedsBody                     // Tokens .. JSON
	NeedsPrice                    // Price, with Tokens
	NeedsPrefix                   // Prefix
	NeedsSpent                    // Spent
)
