# fish completion for swarmlb: it asks swarmlb itself how the words could go on.

function __swarmlb_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor)
    $words[1] complete -- $words 2>/dev/null
end

complete --command swarmlb --no-files --keep-order --arguments '(__swarmlb_complete)'
