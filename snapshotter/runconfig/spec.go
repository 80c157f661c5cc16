// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package runconfig

import (
	"encoding/json"
	"errors"
	"fmt"
)

// object is JSON of which most is left as it is, whatever it means.
type object map[string]json.RawMessage

// ReadSpec returns what an OCI runtime specification, as JSON, says of a State. It has no labels.
func ReadSpec(data []byte) (State, error) {
	var spec struct {
		Process *struct {
			Env  []string `json:"env"`
			Args []string `json:"args"`
			Cwd  string   `json:"cwd"`
			User struct {
				UID    uint32   `json:"uid"`
				GID    uint32   `json:"gid"`
				Groups []uint32 `json:"additionalGids"`
			} `json:"user"`
		} `json:"process"`
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return State{}, fmt.Errorf("read the container's specification: %w", err)
	}
	p := spec.Process
	if p == nil {
		return State{}, errors.New("read the container's specification: it has no process")
	}
	return State{Env: p.Env, Args: p.Args, Cwd: p.Cwd,
		User: User{UID: p.User.UID, GID: p.User.GID, Groups: p.User.Groups}}, nil
}

// WriteSpec returns a specification that ReadSpec has read with another state. All else in it stays, also what no
// version of the specification knows.
func WriteSpec(data []byte, s State) ([]byte, error) {
	var spec, process, user object
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("read the container's specification: %w", err)
	}
	if err := json.Unmarshal(spec["process"], &process); err != nil {
		return nil, fmt.Errorf("read the container's process: %w", err)
	}
	if of, ok := process["user"]; ok {
		if err := json.Unmarshal(of, &user); err != nil {
			return nil, fmt.Errorf("read the container's user: %w", err)
		}
	}
	if user == nil {
		user = object{}
	}
	err := errors.Join(
		user.set("uid", s.User.UID), user.set("gid", s.User.GID),
		user.setList("additionalGids", s.User.Groups, len(s.User.Groups)),
		process.set("user", user), process.set("cwd", s.Cwd),
		process.setList("env", s.Env, len(s.Env)), process.setList("args", s.Args, len(s.Args)),
		spec.set("process", process),
	)
	if err != nil {
		return nil, fmt.Errorf("write the container's specification: %w", err)
	}
	return json.Marshal(spec)
}

func (o object) set(key string, v any) error {
	data, err := json.Marshal(v)
	o[key] = data
	return err
}

// setList leaves out what is empty.
func (o object) setList(key string, v any, n int) error {
	if n == 0 {
		delete(o, key)
		return nil
	}
	return o.set(key, v)
}
