// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// fromSource reports whether an image of a name comes from a source.
func fromSource(source, name string) bool {
	rest, ok := strings.CutPrefix(name, source)
	return ok && (strings.HasSuffix(source, "/") || rest == "" || rest[0] == ':' || rest[0] == '@')
}

// sourcePatience is how long an image may take to have a name after its topmost layer was committed.
const sourcePatience = 10 * time.Minute

// sourceAgain is how often it is asked for.
const sourceAgain = 2 * time.Second

// unvouched returns the updates that images announced of which the source may still come to be known.
func (a *Announcer) unvouched() (ids []dag.UpdateID) {
	if a.host == nil || !a.policy.trusts() {
		return nil
	}
	a.state.Graph(func(g *dag.Graph) {
		for _, u := range g.Updates() {
			age := clock.Now().Sub(u.Updated)
			if u.Claimed && len(u.Announced()) > 0 && age < sourcePatience && age > -sourcePatience {
				ids = append(ids, u.ID)
			}
		}
	})
	return ids
}

// vouch has updates that images announced go as far as those of trusted sources do, once containerd has a name from
// such a source for the image. What an operator withdraws or asks for in the meantime is left alone.
func (a *Announcer) vouch(ctx context.Context, ids []dag.UpdateID) {
	asked := map[dag.UpdateID]bool{}
	for _, id := range ids {
		asked[id] = true
	}
	for {
		left := slices.DeleteFunc(a.unvouched(), func(id dag.UpdateID) bool { return !asked[id] })
		if len(left) == 0 {
			return
		}
		if err := a.vouchFor(ctx, left); err != nil {
			log.G(ctx).WithError(err).Warn("where images come from cannot be told; it is asked again")
		}
		if background.Sleep(ctx, sourceAgain) != nil {
			return
		}
	}
}

// vouchFor asks once.
func (a *Announcer) vouchFor(ctx context.Context, ids []dag.UpdateID) error {
	ask, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	for _, id := range ids {
		var u dag.Update
		a.state.Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
		name, err := a.voucher(ask, u)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		renewed := dag.Renew{Update: id, To: u.To, Storages: u.Announced(), Until: a.policy.Trusted.until(),
			Now: clock.Now()}
		if err := a.state.Do(renewed); err != nil {
			return err
		}
		log.G(ctx).WithFields(log.Fields{"update": id.String(), "image": name}).
			Info("an image of a trusted source announces the update")
		a.tasks.Go(func(ctx context.Context) { a.runner.Run(ctx, id) })
	}
	return nil
}

// voucher returns the name of an image from a trusted source that announces an update itself, empty without one. An
// image of the same layers from elsewhere may say that it updates something else.
func (a *Announcer) voucher(ctx context.Context, u dag.Update) (string, error) {
	var origin string
	a.state.Graph(func(g *dag.Graph) {
		n, _ := g.Node(u.To)
		origin = n.Origin
	})
	namespace, layer, _ := strings.Cut(origin, "/")
	says, err := a.host.Announcements(ctx, namespace, layer)
	if err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(says)) {
		trusted := slices.ContainsFunc(a.policy.Sources, func(source string) bool { return fromSource(source, name) })
		if !trusted || says[name] == "" {
			continue
		}
		base, err := a.layerCalled(ctx, namespace, says[name])
		if err != nil {
			if errdefs.IsNotFound(err) {
				continue
			}
			return "", err
		}
		var same bool
		a.state.Graph(func(g *dag.Graph) { same = g.SameBase(base, cmp.Or(u.Of, u.From)) })
		if same {
			return name, nil
		}
	}
	return "", nil
}
