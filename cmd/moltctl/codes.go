// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
)

// code is a word that molt answers with, for people: what it means, what there is to do, and the command for that.
// Words of COMMAND in capitals are to be filled in.
type code struct {
	kind, name, means, do, command string
}

// The kinds of codes.
const (
	kindState    = "state"
	kindHold     = "held"
	kindUse      = "use"
	kindFinding  = "finding"
	kindConflict = "conflict"
	kindFate     = "undone"
)

// holdCommands are the commands that go with the reasons why a storage is held; the engine knows the rest of them.
var holdCommands = map[servicing.HoldCode]string{
	servicing.HoldCheck:           "moltctl update create --storage STORAGE --to IMAGE --policy FINDING=warn",
	servicing.HoldConflict:        "moltctl update create --storage STORAGE --to IMAGE --policy CONFLICT=keep",
	servicing.HoldDependency:      "moltctl update create --storage STORAGE --to IMAGE --policy dependency=keep",
	servicing.HoldInterrupted:     "moltctl update create --storage STORAGE --to IMAGE",
	servicing.HoldPackageDatabase: "moltctl storage explain STORAGE PATH",
	servicing.HoldDistribution:    "moltctl update create --storage STORAGE --to IMAGE --force",
	servicing.HoldArchitecture:    "moltctl update create --storage STORAGE --to IMAGE",
	servicing.HoldLibrary:         "moltctl update create --storage STORAGE --to IMAGE --force",
	servicing.HoldPin:             "moltctl storage unpin STORAGE PATH",
	servicing.HoldAccounts:        "moltctl storage unpin STORAGE /etc/passwd",
	servicing.HoldAttributes:      "moltctl update create --storage STORAGE --to IMAGE",
	servicing.HoldOverlay:         "moltctl update create --storage STORAGE --to IMAGE",
}

const (
	watchUpdate    = "moltctl update inspect --watch UPDATE"
	inspectUpdates = "moltctl update inspect UPDATE"
	showReport     = "moltctl update report --storage STORAGE UPDATE"
	createAgain    = "moltctl update create --storage STORAGE --to IMAGE"
	rollbackNamed  = "moltctl update rollback --storage STORAGE UPDATE"
)

var stateCodes = []code{
	{kindState, "planned", "waits: for its turn, or for the storage not to be in use",
		"nothing, or stop what uses the storage", watchUpdate},
	{kindState, "staging", "what the update does is being found out", "nothing", watchUpdate},
	{kindState, "staged", "what the update does is known and written; the storage has not moved",
		"have it moved, or leave it to the daemon where servicing.on_commit says so", "moltctl update apply UPDATE"},
	{kindState, "announced", "a layer was committed that updates the base; nothing happens by itself",
		"have the storages moved, or withdraw it", "moltctl update apply UPDATE"},
	{kindState, "applied", "the storage stands on the new base", "look at what was decided", showReport},
	{kindState, "held", "the storage cannot be updated for the reasons given, and stands on its old base",
		"do what is said beside each reason, and update it again", showReport},
	{kindState, "aborted", "given up; the storage stands on its old base", "see why, and update it again", createAgain},
	{kindState, "rolled-back", "the update was undone", "nothing, or update the storage again", createAgain},
	{kindState, "withdrawn", "taken back before it was applied", "nothing, or update the storage again", createAgain},
}

var useCodes = []code{
	{kindUse, "use-running", "containerd reports a running container", "nothing, or stop the container", watchUpdate},
	{kindUse, "use-mounted", "a mount table shows it mounted", "end the processes that are named, or unmount it",
		inspectUpdates},
	{kindUse, "use-starting", "the container may be starting", "nothing: this ends by itself (servicing.grace)",
		watchUpdate},
	{kindUse, "use-unseen", "the kernel reports a use that no mount table shows",
		"end the processes that are named, remove the mount namespace, or answer for it yourself",
		createAgain + " --assume-free"},
	{kindUse, "use-blind", "the daemon does not see the processes of the host",
		"run it in the pid namespace of the host, or answer for the storage yourself", createAgain + " --assume-free"},
	{kindUse, "use-unknown", "containerd, the mount tables or the kernel gave no answer",
		"mend that; it is asked again by itself", inspectUpdates},
}

var fateCodes = []code{
	{kindFate, "rolled back", "the storage returns to the state from before the update", "look at what was set aside",
		"moltctl storage history STORAGE"},
	{kindFate, "waits", "the storage is in use, and is rolled back when that has ended",
		"nothing, or stop what uses it; or withdraw the rollback", "moltctl update cancel UPDATE"},
	{kindFate, "withdrawn", "the update had not moved the storage, and no longer will", "nothing", inspectUpdates},
	{kindFate, "rollback withdrawn", "the storage stays where the update moved it", "nothing, or roll it back again",
		rollbackNamed},
	{kindFate, "is rolled back", "the update was undone before", "nothing, or update the storage again", createAgain},
	{kindFate, "moved on", "a later update has moved the storage since", "undo that one first",
		"moltctl storage rollback STORAGE"},
	{kindFate, "needs its name", "its container asks for the base that the storage would leave",
		"name the storage if that is meant", rollbackNamed},
	{kindFate, "removed", "the storage is not there any more", "nothing", inspectUpdates},
	{kindFate, "begun there", "the storage was begun on the new base, and stays there", "take it back as well",
		"moltctl update rollback --with-new UPDATE"},
	{kindFate, "taken along", "the storage was begun on the new base, and is updated to the old one", "nothing",
		inspectUpdates},
	{kindFate, "ends", "the update takes in no more storages that come", "nothing", inspectUpdates},
	{kindFate, "failed", "the storage stands where it stood, for the reason given",
		"do what the reason says, and repeat it", rollbackNamed},
}

// allCodes returns every code, those of one kind together.
func allCodes() []code {
	holds := make([]code, 0, len(holdCommands))
	for _, h := range servicing.HoldCodes() {
		holds = append(holds, code{kindHold, string(h.Code), h.Means, h.Do, holdCommands[h.Code]})
	}
	findings, conflicts := concernCodes()
	return slices.Concat(stateCodes, useCodes, holds, findings, fateCodes, conflicts)
}

// concernCodes returns the kinds of findings and those of conflicts, as the engine explains them.
func concernCodes() (findings, conflicts []code) {
	for _, c := range servicing.Concerns() {
		one := code{kindFinding, string(c.Concern), c.Means, c.Do, showReport}
		if c.Finding() {
			findings = append(findings, one)
			continue
		}
		one.kind = kindConflict
		one.command = fmt.Sprintf("moltctl storage policy STORAGE %s=ACTION", c.Concern)
		conflicts = append(conflicts, one)
	}
	return findings, conflicts
}

// codeOf returns what is known of a code. Of one that a later daemon has that is its name.
func codeOf(name string) code {
	all := allCodes()
	if i := slices.IndexFunc(all, func(c code) bool { return c.name == name }); i >= 0 {
		return all[i]
	}
	return code{name: name}
}

// meaning writes what a code means, with the code as programs have it.
func (c code) meaning() string {
	return strings.TrimSpace(fmt.Sprintf("%s (%s)", c.means, c.name))
}

func codesCommand() *cli.Command {
	return &cli.Command{
		Name: "codes", Usage: "say what a state, a reason, a use, a finding or a conflict means, and what to do",
		ArgsUsage:   "[CODE]",
		Description: "Without a CODE, all of them. The daemon is not asked.",
		Action:      func(_ context.Context, c *cli.Command) error { return showCodes(c) },
	}
}

func showCodes(c *cli.Command) error {
	if err := checkFormat(c); err != nil {
		return err
	}
	found := allCodes()
	if c.Args().Present() {
		given := strings.Join(c.Args().Slice(), " ")
		found = slices.DeleteFunc(found, func(one code) bool { return one.name != given })
		if len(found) == 0 {
			return classedError{fmt.Sprintf("code %q: not found; moltctl codes lists them", given), errdefs.ErrNotFound}
		}
	}
	if c.String("format") == formatJSON {
		list := make([]map[string]string, 0, len(found))
		for _, one := range found {
			list = append(list, map[string]string{"kind": one.kind, "code": one.name, "means": one.means, "do": one.do,
				"command": one.command})
		}
		return printObject(c.Root().Writer, map[string]any{"codes": list})
	}
	t := newTable(c.Root().Writer)
	for i, one := range found {
		if i > 0 {
			t.row()
		}
		t.row(fmt.Sprintf("%s (%s)", one.name, one.kind))
		t.row("  means", one.means)
		t.row("  to do", one.do)
		t.row("  command", one.command)
	}
	return t.flush()
}

// codeText writes the code of a reason behind its message; reports of older versions have none.
func codeText(code servicing.HoldCode) string {
	if code == "" {
		return ""
	}
	return " (" + string(code) + ")"
}
