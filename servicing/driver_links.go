// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"slices"
)

// result returns what will be seen at a path whose parents are seen.
func (p *planner) result(name string) (node, error) {
	if o, decided := p.want[name]; decided {
		return o.node, nil
	}
	return lookup(p.plain, name)
}

// reportDangling reports the user's symbolic links that led somewhere and will not any more.
func reportDangling(_ context.Context, p *planner) error {
	for _, t := range p.links {
		shown, err := p.result(t.path)
		if err != nil {
			return err
		}
		if shown.absent() || shown.Link != t.u.Link {
			continue
		}
		before, err := resolve(in(p.user), t.was)
		if err != nil {
			return err
		}
		after, err := resolve(p.result, t.path)
		if err != nil {
			return err
		}
		if !before.absent() && after.absent() {
			p.dangles(t)
		}
	}
	return nil
}

// dangles reports a link that leads nowhere now.
func (p *planner) dangles(t three) {
	reason := fmt.Sprintf("leads nowhere now: %q", t.u.Link)
	i := slices.IndexFunc(p.findings, func(f finding) bool { return f.path == t.path })
	if i >= 0 {
		p.findings[i].reason += "; " + reason
		return
	}
	p.quiet[Keep]--
	p.findings = append(p.findings, finding{t, decision{verdict: Keep, rule: "R13", driver: "links", reason: reason, result: shows(t.u)}})
}
