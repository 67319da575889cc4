package policy

import (
	"regexp"
	"slices"
	"strings"
)

// principals is a Principal or NotPrincipal element, compiled. Federated and
// canonical users are read and match nobody: they do not sign requests here.
type principals struct {
	everyone  bool
	strangers bool // whoever a public identity provider vouches for
	accounts  []string
	arns      []string // users, roles and sessions
	roles     []role
	services  []string
}

type role struct{ account, name string }

// reach is how a principal is named.
type reach int

const (
	nobody     reach = iota
	viaAccount       // its account is named
	direct           // it is named itself, or everybody is
)

var (
	accountID    = regexp.MustCompile(`^[0-9]{12}$`)
	serviceName  = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com(\.cn)?$`)
	principalARN = regexp.MustCompile(`^arn:aws(-[a-z]+)*:` +
		`(iam::[0-9]{12}:(root|(user|role)/[!-~]+)|sts::[0-9]{12}:(assumed-role/[!-~]+/[!-~]+|federated-user/[!-~]+))$`)
)

func newPrincipals(e *principalElement) (*principals, error) {
	n := &principals{everyone: e.everyone}
	for _, s := range e.byType.AWS {
		if err := n.addAWS(s); err != nil {
			return nil, err
		}
	}
	for _, s := range e.byType.Service {
		if !serviceName.MatchString(s) {
			return nil, wrap(ErrServicePrincipal, s)
		}
		n.services = append(n.services, s)
	}
	for _, s := range slices.Concat(e.byType.Federated, e.byType.CanonicalUser) {
		if s == "" || strings.ContainsAny(s, "*?") {
			return nil, wrap(ErrPrincipal, s)
		}
	}
	n.strangers = slices.ContainsFunc(e.byType.Federated, func(s string) bool { return !strings.HasPrefix(s, "arn:") })
	return n, nil
}

// addAWS adds an entry of "AWS".
func (n *principals) addAWS(s string) error {
	switch {
	case s == "*":
		n.everyone = true
		return nil
	case accountID.MatchString(s):
		n.accounts = append(n.accounts, s)
		return nil
	case !principalARN.MatchString(s) || strings.ContainsAny(s, "*?"):
		return wrap(ErrPrincipal, s)
	}
	account, id := splitARN(s)
	kind, path, _ := strings.Cut(id, "/")
	switch kind {
	case "root":
		n.accounts = append(n.accounts, account)
	case "role":
		n.roles = append(n.roles, role{account, path[strings.LastIndexByte(path, '/')+1:]})
		fallthrough
	default:
		n.arns = append(n.arns, s)
	}
	return nil
}

// reach says how p is named here. A session is named by its role too, and the
// root of an account by its account.
func (n *principals) reach(p *Principal) reach {
	switch {
	case n.everyone,
		p.Service != "" && slices.Contains(n.services, p.Service),
		slices.Contains(n.arns, p.ARN),
		len(n.roles) > 0 && n.namesRole(p.ARN):
		return direct
	case p.Account == "" || !slices.Contains(n.accounts, p.Account):
		return nobody
	case p.IsRoot():
		return direct
	}
	return viaAccount
}

func (n *principals) namesRole(session string) bool {
	account, id := splitARN(session)
	kind, rest, _ := strings.Cut(id, "/")
	name, _, _ := strings.Cut(rest, "/")
	return kind == "assumed-role" && slices.Contains(n.roles, role{account, name})
}

// IsRoot reports whether p is the root user of its account.
func (p *Principal) IsRoot() bool {
	account, id := splitARN(p.ARN)
	return id == "root" && account == p.Account
}

// splitARN returns the fifth part of an ARN and all that follows.
func splitARN(arn string) (account, id string) {
	for range 4 {
		_, arn, _ = strings.Cut(arn, ":")
	}
	account, id, _ = strings.Cut(arn, ":")
	return account, id
}
