package policy

import "time"

// Sight is whose usage somebody may look at; the zero value is everyone's.
type Sight struct {
	Tenant, Team, Key string
	Since             time.Time // the tenant was made then; what is older was another's of its name
	Zone              string    // where its days begin
}

// Sees is whose usage the caller may look at. Who is in charge of people or limits sees his tenant's, or his team's where he has
// one, and so does who may read answers but ask for none: he is there to look. All others see their own key's, and a super admin
// everything.
func (c *Caller) Sees() Sight {
	if c.Super() {
		return Sight{}
	}
	s := Sight{Tenant: c.Tenant, Team: c.Team, Key: c.Key, Since: c.tenant.created, Zone: c.tenant.zone}
	if c.May(AdminUser) || c.May(AdminQuota) || c.May(ChatRead) && !c.May(ChatCreate) {
		s.Key = ""
	}
	return s
}
