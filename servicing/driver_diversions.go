// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const diversionsPath = "var/lib/dpkg/diversions"

// diversions are those of the user that the new base does not have, by path.
type diversions struct {
	from, to map[string]string // where a file is and would be, and the other way round
}

// readDiversions reads them when they are asked for the first time.
func (p *planner) readDiversions() error {
	if p.diverted != nil {
		return nil
	}
	all := diversions{make(map[string]string), make(map[string]string)}
	user, err := p.diversionsIn(p.user)
	if err != nil {
		return err
	}
	base, err := p.diversionsIn(p.new)
	if err != nil {
		return err
	}
	for d := range user {
		_, known := base[d]
		from, to := p.divertedPath(d.From), p.divertedPath(d.To)
		if c, err := p.packages.ownerOf(three{path: from, was: from}); err != nil {
			return err
		} else if !known && (c[sideNew] == nil || c[sideNew].Key != d.By) {
			all.from[to], all.to[from] = from, to
		}
	}
	p.diverted = &all
	return nil
}

// isDiverted tells whether the user diverted a path, or diverted one to it.
func (p *planner) isDiverted(name string) (bool, error) {
	if err := p.readDiversions(); err != nil {
		return false, err
	}
	return p.diverted.from[name] != "" || p.diverted.to[name] != "", nil
}

func (p *planner) divertedPath(name string) string {
	return resolveAlias(p.packages.alias[sideUser], trimRoot(name))
}

func (p *planner) diversionsIn(view *tree.View) (map[dpkg.Diversion]bool, error) {
	n, err := lookup(view, diversionsPath)
	if err != nil {
		return nil, err
	}
	content, err := read(n, maxDatabase)
	if err != nil && !errors.Is(err, tree.ErrTooLarge) {
		return nil, err
	}
	out := make(map[dpkg.Diversion]bool)
	for _, d := range dpkg.ParseDiversions(content) {
		out[d] = true
	}
	return out, nil
}

// followDiversion reconciles a file that the user diverted with what the new base has under the name that it had, as dpkg
// would have installed it; what stands under that name now is the user's.
func followDiversion(p *planner, t three) (decision, bool, error) {
	if err := p.readDiversions(); err != nil {
		return decision{}, false, err
	}
	if _, away := p.diverted.to[t.path]; away && !t.u.dir() && !t.n.dir() {
		return decision{
			verdict: report.Keep, rule: "D8", reason: "the user diverted the base's file", result: shows(t.u), quiet: t.n.absent(),
		}, true, nil
	}
	from, ok := p.diverted.from[t.path]
	if !ok || !t.o.absent() || !t.n.absent() || !t.u.file() {
		return decision{}, false, nil
	}
	there := three{path: t.path, was: from, u: t.u}
	var errs [3]error
	there.o, errs[0] = lookup(p.old, from)
	there.n, errs[1] = lookup(p.new, from)
	there.own, errs[2] = p.packages.ownerOf(three{path: from, was: from})
	if err := errors.Join(errs[:]...); err != nil || !there.o.file() || there.n.dir() || there.own.pinned(from) {
		return decision{}, false, err
	}
	d, err := p.threeWay(there)
	d.rule, d.beside, d.aside = "D8", false, false
	d.reason = "diverted from " + tree.Shown(from) + ": " + d.reason
	return d, err == nil, err
}
