// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// explainCommands are those that look into a storage.
func explainCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "explain", Usage: "show where what the container sees at a path comes from, and what it hides", ArgsUsage: "STORAGE PATH",
			Action: action(explainPath),
		},
		{
			Name: "audit", Usage: "show which fixes of its base a storage hides", ArgsUsage: "STORAGE",
			Description: "Exit code 3 if there are any.",
			Action:      action(auditStorage),
		},
	}
}

func explainPath(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE", "PATH")
	if err != nil {
		return err
	}
	r, err := client.ExplainPath(ctx, &api.ExplainPathRequest{Name: args[0], Path: []byte(args[1])})
	if err != nil {
		return err
	}
	e := &servicing.Explanation{}
	return printedJSON(c, r.GetExplanation(), e, func(t *table) { explanation(t, e) })
}

// printedJSON prints data: as it is for programs, otherwise read into v and printed as fn says.
func printedJSON(c *cli.Command, data []byte, v any, fn func(t *table)) error {
	if c.String("format") == formatJSON {
		_, err := fmt.Fprintln(c.Root().Writer, string(data))
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	t := newTable(c.Root().Writer)
	fn(t)
	return t.w.Flush()
}

func explanation(t *table, e *servicing.Explanation) {
	t.row("path", printable(bytesOf(e.Path, e.PathBytes)))
	if !e.Exists {
		t.row("seen", "nothing")
	}
	t.row("package", fixText(e.Package))
	t.row("package in the base", fixText(e.BasePackage))
	if e.Unread == "" {
		t.row("on a conflict", fmt.Sprintf("%s: %s", e.Concern, e.Action))
	} else {
		t.row("on a conflict", "not known: it "+e.Unread)
	}
	if e.Pin != nil {
		t.row("pinned", e.Pin.Reason, expired(e.PinExpired))
	}
	t.row()
	t.row("NODE", "OF THE", "SEEN", "WHAT", "MODE", "OWNER", "SIZE", "CONTENT")
	for _, s := range e.Stack {
		t.row(s.From, map[bool]string{true: "storage", false: "base"}[s.Storage], seen(s), s.What, orDash(mode(s)), fmt.Sprintf("%d:%d", s.UID, s.GID), size(s.Size), short(orDash(printable([]byte(s.Content)))))
	}
	for _, s := range e.Stack {
		if s.Unread != "" {
			t.row(s.From, "in this directory it "+s.Unread)
		}
	}
}

// mode returns the mode with the inode flags, as in "0644 +i".
func mode(s servicing.Sight) string {
	if s.Flags == "" {
		return s.Mode
	}
	return s.Mode + " +" + s.Flags
}

func seen(s servicing.Sight) string {
	switch {
	case s.Shown:
		return "yes"
	case s.Merged:
		return "content"
	}
	return "hidden"
}

func expired(yes bool) string {
	if yes {
		return "expired"
	}
	return ""
}

func fixText(f *servicing.Fix) string {
	if f == nil {
		return "-"
	}
	return f.Package + " " + f.Version
}

// bytesOf returns the bytes of a path, which JSON may not be able to hold as text.
func bytesOf(text string, raw []byte) []byte {
	if len(raw) > 0 {
		return absolute(raw)
	}
	return absolute([]byte(text))
}

func auditStorage(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE")
	if err != nil {
		return err
	}
	r, err := client.AuditStorage(ctx, &api.AuditStorageRequest{Name: args[0]})
	if err != nil {
		return err
	}
	a := &servicing.AuditReport{}
	if err := printedJSON(c, r.GetAudit(), a, func(t *table) { audit(t, a) }); err != nil {
		return err
	}
	if err := json.Unmarshal(r.GetAudit(), a); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if a.Fixes > 0 {
		return errHeld
	}
	return nil
}

func audit(t *table, a *servicing.AuditReport) {
	t.row("PACKAGE", "IN THE BASE", "SEEN", "FIX HIDDEN", "WHY")
	for _, p := range a.Packages {
		t.row(p.Name, p.Base, orNone(p.Seen), yes(p.Lower), p.Reason)
	}
	t.row()
	t.row("PATH", "PACKAGE", "VERSION IN THE BASE", "FIX HIDDEN", "HOW")
	for _, p := range a.Paths {
		t.row(printable(bytesOf(p.Path, p.PathBytes)), p.Package, p.Version, yes(p.Fix), p.How)
	}
	unread(t, "not looked at", a.Unread)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}
