// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc/status"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// explainCommands are those that look into a storage.
func explainCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "explain", Usage: "show where what the container sees at a path comes from, and what it hides",
			ArgsUsage: "STORAGE PATH",
			Action:    action(explainPath),
		},
		{
			Name: "audit", Usage: "show which fixes of its base a storage hides", ArgsUsage: "STORAGE",
			Description: `Packages of the base, and the files that they own, are compared with what the container
sees. Files of the base that no package owns are not: storage explain shows one of them. Exit code 3 if fixes
are hidden.`,
			Action: action(auditStorage),
		},
	}
}

func explainPath(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE", "PATH")
	if err != nil {
		return err
	}
	stream, err := client.ExplainPath(ctx, &api.ExplainPathRequest{Name: args[0], Path: []byte(args[1])})
	if err != nil {
		return err
	}
	var (
		e    = &servicing.Explanation{}
		text bytes.Buffer
	)
	document := io.TeeReader(api.Reader(stream, (*api.ExplainPathResponse).GetExplanation), &text)
	if err := readJSON(document, e); err != nil {
		return err
	}
	inJSON := c.String("format") == formatJSON
	if inJSON {
		if err := copyJSON(c.Root().Writer, io.MultiReader(&text, document)); err != nil {
			return err
		}
	}
	if !e.Exists && len(e.Stack) == 0 {
		text := fmt.Sprintf("%s: no such path, neither in storage %s nor in its base",
			printable(bytesOf(e.Path, e.PathBytes)), args[0])
		return classedError{text, errdefs.ErrNotFound}
	}
	if inJSON {
		return nil
	}
	t := newTable(c.Root().Writer)
	explanation(t, e)
	return t.flush()
}

// printedJSON prints a JSON document: as it comes for programs, otherwise read into v and printed as fn says.
func printedJSON(c *cli.Command, document io.Reader, v any, fn func(t *table)) error {
	if c.String("format") == formatJSON {
		return copyJSON(c.Root().Writer, document)
	}
	if err := readJSON(document, v); err != nil {
		return err
	}
	t := newTable(c.Root().Writer)
	fn(t)
	return t.flush()
}

// readJSON reads a JSON document. The error of a call is returned as it is.
func readJSON(document io.Reader, v any) error {
	err := json.NewDecoder(document).Decode(v)
	if _, called := status.FromError(err); err != nil && !called {
		return fmt.Errorf("read the answer: %w", err)
	}
	return err
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
	for _, b := range e.Beside {
		t.row("not in force", fmt.Sprintf("%s: %s", b.Kind, printable(bytesOf(b.At, b.AtBytes))))
	}
	if e.Pin != nil {
		t.row("pinned", e.Pin.Reason, expired(e.PinExpired))
	}
	t.row()
	t.row("NODE", "OF THE", "SEEN", "WHAT", "MODE", "OWNER", "SIZE", "CONTENT")
	for _, s := range e.Stack {
		t.row(s.From, map[bool]string{true: "storage", false: "base"}[s.Storage], seen(s), s.What, orDash(mode(s)),
			fmt.Sprintf("%d:%d", s.UID, s.GID), size(s.Size), short(orDash(printable([]byte(s.Content)))))
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
	stream, err := client.AuditStorage(ctx, &api.AuditStorageRequest{Name: args[0]})
	if err != nil {
		return err
	}
	document := api.Reader(stream, (*api.AuditStorageResponse).GetAudit)
	fixes := 0
	if c.String("format") == formatJSON {
		if fixes, err = copyAudit(c.Root().Writer, document); err != nil {
			return err
		}
	} else if fixes, err = printAudit(c.Root().Writer, document); err != nil {
		return err
	}
	return notEffective(ctx, c, client, args[0], fixes)
}

// notEffective says that fixes do not reach a container: the storage hides them, or is held and stands on its old base.
func notEffective(ctx context.Context, c *cli.Command, client api.ControlClient, storage string, fixes int) error {
	r, err := api.Whole(client.GetStorage(ctx, &api.GetStorageRequest{Name: storage}))
	if err != nil {
		return err
	}
	held := r.GetStorage().GetHeldBy()
	if held != 0 && c.String("format") != formatJSON {
		if _, err := fmt.Fprintf(c.Root().Writer,
			"held: update %s is not applied; see moltctl update report --storage %s %s\n",
			updateID(held), r.GetStorage().GetName(), updateID(held)); err != nil {
			return err
		}
	}
	counted := shortfall{of: 1}
	if fixes > 0 {
		counted.add(exitHeld, fmt.Sprintf("hides %d %s of its base", fixes, plural(fixes, "fix", "fixes")))
	}
	if held != 0 {
		counted.add(exitHeld, "is held")
	}
	return counted.err()
}

// copyAudit prints an audit as JSON and returns how many fixes are hidden.
func copyAudit(w io.Writer, document io.Reader) (fixes int, err error) {
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := eachField(read, func(name string, dec *json.Decoder) error {
			switch name {
			case "fixes":
				return dec.Decode(&fixes)
			case "packages", "paths":
				return eachElement(dec, func(struct{}) error { return nil })
			}
			return skipValue(dec)
		})
		_, rest := io.Copy(io.Discard, read)
		done <- errors.Join(err, rest)
	}()
	err = copyJSON(w, io.TeeReader(document, write))
	// The error that the other side is given comes back from there; closing has none.
	_ = write.CloseWithError(err)
	if scanned := <-done; err == nil {
		err = scanned
	}
	return fixes, err
}

// printAudit prints an audit as tables, row by row as they come, and returns how many fixes are hidden.
func printAudit(w io.Writer, document io.Reader) (fixes int, err error) {
	t := newTable(w)
	var packages, paths bool // they have a row
	err = eachField(document, func(name string, dec *json.Decoder) error {
		switch name {
		case "fixes":
			return dec.Decode(&fixes)
		case "packages":
			return eachElement(dec, func(p servicing.AuditPackage) error {
				if !packages {
					t.row("PACKAGE", "IN THE BASE", "SEEN", "FIX HIDDEN", "WHY")
				}
				packages = true
				t.row(p.Name, p.Base, orNone(p.Seen), yes(p.Lower), p.Reason)
				if p.Waits != nil {
					t.row("", "to do in the container: "+p.Waits.Do)
				}
				return t.err
			})
		case "paths":
			return eachElement(dec, func(p servicing.AuditPath) error {
				if !paths {
					if packages {
						t.row()
					}
					t.row("PATH", "PACKAGE", "VERSION IN THE BASE", "FIX HIDDEN", "HOW")
				}
				paths = true
				t.row(printable(bytesOf(p.Path, p.PathBytes)), p.Package, p.Version, yes(p.Fix), p.How)
				return t.err
			})
		case "unread":
			var passed []servicing.Unread
			err := dec.Decode(&passed)
			unread(t, "not looked at", passed)
			return err
		}
		return skipValue(dec)
	})
	if err == nil && !packages && !paths {
		t.row("nothing hidden")
	}
	return fixes, t.end(err)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}
