# bash completion for swarmlb: it asks swarmlb itself how the words could go on.

_swarmlb() {
    local IFS=$' \t\n' words=() rest=$COMP_LINE trimmed typed candidate i
    # Bash breaks words at = and : as well; swarmlb wants them as they were typed.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        if ((i > 0)) && [[ $trimmed == "$rest" ]]; then
            words[${#words[@]} - 1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
        rest=${trimmed#"${COMP_WORDS[i]}"}
    done
    typed=${words[${#words[@]} - 1]}
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        # What bash takes for words before the last one stays on the line.
        COMPREPLY+=("${candidate#"${typed%"$2"}"}")
    done < <("${words[0]}" complete -- "${words[@]}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _swarmlb swarmlb
